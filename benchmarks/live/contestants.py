"""Who scales what: one service each, equal but for the scaler.

All have the gateway and the worker's drain hook of Penstock in front, so that latencies are measured at the same place
and the others lose no request that a bare Deployment would lose. Their services are paused: Penstock leaves the count
of the Deployment alone, and the other scaler writes it.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock_contract import names
from penstock_lab.kube import Object

from .keda import scaled_object
from .scenario import MOST_REPLICAS, OBJECTIVES, PROFILE

SERVICE = "chat"
WAITING_PER_REPLICA = 5.0  # vLLM production-stack's
RUNNING_PER_REPLICA = 8.0  # half of the sequences of a replica


@dataclass(frozen=True, slots=True)
class Contestant:
    """One scaler with its service.

    Attributes:
        name: of the namespace and in results.
        title: for people.
        waiting: metric that KEDA gives to the HPA: waiting requests, or running and waiting ones; None = ours scales.
        threshold: of it, per replica.
        missing_is_zero: an empty answer counts as 0.
        simulated: name of the policy that stands for it in the simulator.
    """

    name: str
    title: str
    simulated: str
    threshold: float = 0.0
    running: bool = False
    missing_is_zero: bool = False

    @property
    def ours(self) -> bool:
        """Whether Penstock scales it."""
        return self.threshold == 0.0

    @property
    def query(self) -> str:
        """What KEDA asks Prometheus. What the gateway holds waits as well."""
        mine = f'{{namespace="{self.name}"}}'
        waiting = f"sum(vllm:num_requests_waiting{mine}) + sum(penstock_gateway_requests_held{mine})"
        return f"sum(vllm:num_requests_running{mine}) + {waiting}" if self.running else waiting


CONTESTANTS = (
    Contestant("penstock", "Penstock, nothing set but objectives and bounds", "penstock"),
    Contestant(
        "keda-waiting",
        f"KEDA on waiting requests, {WAITING_PER_REPLICA:g} per replica (vLLM production-stack)",
        "keda",
        threshold=WAITING_PER_REPLICA,
        missing_is_zero=True,
    ),
    Contestant(
        "hpa-running",
        f"HPA on running and waiting requests, {RUNNING_PER_REPLICA:g} per replica",
        "hpa",
        threshold=RUNNING_PER_REPLICA,
        running=True,
    ),
)


WORKER = "penstock/worker:dev"


def service(contestant: Contestant, *, replicas: int, stabilization_seconds: int | None, image: str = WORKER) -> Object:
    """The InferenceService, with so many replicas to begin with."""
    scaling: Object = {"mode": "Auto", "minReplicas": replicas, "maxReplicas": MOST_REPLICAS}
    if stabilization_seconds is not None:
        scaling["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": stabilization_seconds}}
    percentile = round(100 * OBJECTIVES.attainment)
    limits = (("TTFT", OBJECTIVES.ttft_seconds), ("TPOT", OBJECTIVES.tpot_seconds))
    objectives = [
        {"metric": metric, "percentile": percentile, "thresholdMilliseconds": round(1000 * seconds)}
        for metric, seconds in limits
    ]
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": SERVICE, "namespace": contestant.name},
        "spec": {
            "model": {"source": {"containerPath": "/models/tiny"}},
            "runtime": {
                "image": image,
                "args": ["--emulate-device=/models/live.json", f"--max-num-seqs={PROFILE.max_num_seqs}"],
                "accelerator": {"count": PROFILE.accelerators},
                "startupTimeoutSeconds": 300,
            },
            "sla": {"windowSeconds": 3600, "objectives": objectives},
            "scaling": scaling,
            "routing": {"maxHeldRequests": 2000, "holdTimeoutSeconds": 600},
        },
    }


def other_scaler(contestant: Contestant, *, prometheus: str, stabilization_seconds: int | None) -> Object:
    """The ScaledObject of one that is not ours."""
    return scaled_object(
        SERVICE,
        namespace=contestant.name,
        prometheus=prometheus,
        query=contestant.query,
        threshold=contestant.threshold,
        most=MOST_REPLICAS,
        missing_is_zero=contestant.missing_is_zero,
        stabilization_seconds=300 if stabilization_seconds is None else stabilization_seconds,
    )
