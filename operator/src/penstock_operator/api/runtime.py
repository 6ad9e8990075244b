"""`spec.runtime`: how one replica runs.

Together with `spec.model` and `spec.drain` this is all that may change the pod template.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from penstock_operator.api.base import Model, Rule
from penstock_operator.api.fields import ImageReference, Integer, ListMap, ObjectName, Quantity, matches

# Flags that the operator writes itself, for any of the engines, without the leading dashes. Engines read '-'
# and '_' alike. Not a list of what would be unwise: only of what would contradict the resource.
OWNED_FLAGS: Final = (
    "model", "model-path", "model-id", "revision", "served-model-name",
    "max-model-len", "context-length", "max-total-tokens", "max-seq-len",
    "tensor-parallel-size", "tp-size", "tp", "num-shard",
    "host", "hostname", "port", "admin-port", "drain-timeout-seconds",
)  # fmt: skip
RESERVED_ENV: Final = "PENSTOCK_"

LabelValue = Annotated[
    str,
    Field(max_length=63),
    matches(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", "must be a label value of at most 63 characters"),
]
LabelKey = Annotated[str, Field(min_length=1, max_length=316)]


class Engine(StrEnum):
    """Engines that can serve a model."""

    PENSTOCK = "Penstock"
    VLLM = "VLLM"
    SGLANG = "SGLang"
    TGI = "TGI"
    TENSORRT_LLM = "TensorRTLLM"


class LocalObjectRef(Model):
    """An object in the namespace of the resource."""

    name: ObjectName
    """Name of the object."""


class Accelerator(Model):
    """The accelerators of one replica."""

    resource_name: Annotated[
        str,
        Field(min_length=1, max_length=316),
        matches(
            r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?",
            "resourceName must be an extended resource such as nvidia.com/gpu",
        ),
    ] = "nvidia.com/gpu"
    """Extended resource that nodes offer."""
    count: Annotated[Integer, Field(ge=0, le=64)] = 1
    """Accelerators of each replica; 0 runs on the CPU."""


class Resources(Model):
    """Compute resources of one replica beside its accelerators, as in a pod."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] = Field(default_factory=dict)
    """What the scheduler sets aside, such as cpu and memory."""
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] = Field(default_factory=dict)
    """What a replica may use at most."""


class EnvVar(Model):
    """One environment variable of the engine."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=253),
        matches("[A-Za-z_][A-Za-z0-9_]*", "name must be an environment variable such as LOG_LEVEL"),
        Rule(
            f"!self.startsWith('{RESERVED_ENV}')",
            f"names that begin with {RESERVED_ENV} belong to the operator: remove the variable",
            lambda name: not name.startswith(RESERVED_ENV),
        ),
    ]
    """Name; those that begin with PENSTOCK_ belong to the operator."""
    value: Annotated[str, Field(max_length=4096)] = ""
    """Value, as plain text."""


class Toleration(Model):
    """A taint that replicas tolerate, as in a pod."""

    key: LabelKey | None = None
    """Key of the taint; every key when not set, which needs operator Exists."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """Equal compares the value, Exists takes any."""
    value: LabelValue | None = None
    """Value of the taint, for operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; every effect when not set."""
    toleration_seconds: Annotated[Integer, Field(ge=0, le=604_800)] | None = None
    """How long a replica stays on a node with a NoExecute taint; for ever when not set."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.key) || self.operator == 'Exists'",
            "a toleration without key needs operator Exists: set key, or operator to Exists",
            lambda toleration: toleration.key is not None or toleration.operator == "Exists",
        ),
        Rule(
            "!has(self.value) || self.operator == 'Equal'",
            "a toleration with operator Exists takes no value: remove value",
            lambda toleration: toleration.value is None or toleration.operator == "Equal",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds needs effect NoExecute: set effect, or remove tolerationSeconds",
            lambda toleration: toleration.toleration_seconds is None or toleration.effect == "NoExecute",
        ),
    )


class Scheduling(Model):
    """Where replicas may run."""

    runtime_class_name: ObjectName | None = None
    """RuntimeClass of the pods, such as nvidia."""
    priority_class_name: ObjectName | None = None
    """PriorityClass of the pods."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16)] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16)] = ()
    """Taints that replicas tolerate, beside that of the accelerator."""


_OWNED = "--?(" + "|".join(flag.replace("-", "[-_]") for flag in OWNED_FLAGS) + ")"
_owned_flag = matches(rf"{_OWNED}(=.*)?", "")

Argument = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Rule(
        f"!{_owned_flag.cel}",
        "this flag belongs to the operator: remove it; use spec.model for the model, its name and length, "
        "runtime.tensorParallelSize for tensor parallelism; host and ports are fixed",
        lambda argument: not _owned_flag.holds(argument),
    ),
]


class Runtime(Model):
    """How one replica runs."""

    engine: Engine = Engine.PENSTOCK
    """Engine that serves the model."""
    image: ImageReference | None = None
    """Image of the engine; what the operator is configured with when not set."""
    image_pull_secrets: Annotated[
        tuple[LocalObjectRef, ...],
        Field(max_length=8),
        ListMap(("name",)),
    ] = ()
    """Secrets for pulling the image."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of the pods; the namespace's default when not set. Its token is not mounted."""
    accelerator: Accelerator = Accelerator()
    """The accelerators of one replica."""
    tensor_parallel_size: Annotated[Integer, Field(ge=1, le=64)] | None = None
    """Accelerators that share one copy of the model; accelerator.count, and at least 1, when not set."""
    resources: Resources = Resources()
    """Compute resources of one replica beside its accelerators."""
    args: Annotated[tuple[Argument, ...], Field(max_length=64)] = ()
    """More arguments of the engine, such as --max-num-seqs=256. Those that the operator owns are refused."""
    env: Annotated[
        tuple[EnvVar, ...],
        Field(max_length=64),
        ListMap(("name",)),
    ] = ()
    """More environment variables of the engine."""
    startup_timeout_seconds: Annotated[Integer, Field(ge=10, le=86_400)] = 1800
    """How long a replica may take from start to ready, the loading of weights included."""
    scheduling: Scheduling = Scheduling()
    """Where replicas may run."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.tensorParallelSize) || self.accelerator.count == 0"
            " || self.accelerator.count % self.tensorParallelSize == 0",
            "tensorParallelSize must divide accelerator.count: lower it, or raise the count to a multiple",
            lambda runtime: (
                runtime.tensor_parallel_size is None
                or runtime.accelerator.count == 0
                or runtime.accelerator.count % runtime.tensor_parallel_size == 0
            ),
            field="tensorParallelSize",
        ),
        Rule(
            "!has(self.resources) || ((!has(self.resources.requests)"
            " || !(self.accelerator.resourceName in self.resources.requests))"
            " && (!has(self.resources.limits) || !(self.accelerator.resourceName in self.resources.limits)))",
            "the accelerator does not belong in resources: set accelerator.count instead",
            lambda runtime: (
                runtime.accelerator.resource_name not in runtime.resources.requests
                and runtime.accelerator.resource_name not in runtime.resources.limits
            ),
            field="resources",
        ),
    )

    @property
    def tensor_parallelism(self) -> int:
        """Accelerators that share one copy of the model, the default resolved."""
        return self.tensor_parallel_size or max(1, self.accelerator.count)
