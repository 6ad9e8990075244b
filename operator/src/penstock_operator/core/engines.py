"""What each inference engine needs in its container: arguments, probes, port, environment.

One row per engine. Flags are those of the engine's own server; every engine speaks OpenAI on `names.HTTP_PORT`, so that
gateway and scrape configuration need no table of ports. What an engine cannot do is refused here with the reason
EngineNotSupported, since the API server cannot know it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock_contract import names
from penstock_operator.core.enginemetrics import METRICS
from penstock_operator.core.errors import EngineNotSupportedError

if TYPE_CHECKING:
    from penstock_operator.api import InferenceServiceSpec

MODEL_MOUNT = "/penstock/model"
METRICS_PATH = "prometheus.io/path"  # annotation that scrape configurations commonly heed
_TENSORRT_LLM_CONFIG = "/tmp/penstock-llm.yaml"  # noqa: S108 - an emptyDir, the root is read-only
_TENSORRT_LLM_METRICS = ("return_perf_metrics: true", "enable_iter_perf_stats: true")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What every engine is told.

    Attributes:
        model: path in the container, or a Hugging Face repository for engines that download.
        revision: revision of that repository; None for a path.
        served_name: name in the OpenAI API.
        max_model_len: context length in tokens; None = the model's own.
        tensor_parallel: accelerators one engine spreads over.
        drain_seconds: longest time to finish what is in flight.
    """

    model: str
    revision: str | None
    served_name: str
    max_model_len: int | None
    tensor_parallel: int
    drain_seconds: int


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine.

    Attributes:
        name: value of `runtime.engine`.
        args: container arguments for serve options.
        health_path: answers while the process lives.
        ready_path: answers 200 once the model can serve.
        downloads: fetches a Hugging Face repository by itself.
        admin_port: has a second port with the mutating endpoints.
        metrics_path: where its metrics are; what they are called is in `enginemetrics`.
        finishes: on SIGTERM it finishes what it has; others abort it, so their preStop hook has to wait.
        tensor_parallel: can spread over several accelerators.
        slots: flag that says how many requests it runs at once, with dashes.
        step_tokens: flag that says how many tokens it computes in one step at most, with dashes.
        default_step_tokens: without that flag; the least where it depends on the accelerator.
    """

    name: str
    args: Callable[[ServeOptions], list[str]]
    health_path: str = "/health"
    ready_path: str = "/health"
    downloads: bool = True
    admin_port: bool = False
    tensor_parallel: bool = True
    metrics_path: str = "/metrics"
    finishes: bool = False
    slots: str = "--max-num-seqs"
    step_tokens: str = "--max-num-batched-tokens"
    default_step_tokens: int = 2048

    @property
    def work(self) -> tuple[str, ...]:
        """Gauges whose sum is the number of requests that a worker still has."""
        return METRICS[self.name].work


def _flag(name: str, value: object | None) -> list[str]:
    return [] if value is None else [f"{name}={value}"]


def _penstock(options: ServeOptions) -> list[str]:
    return [
        "serve",
        f"--model={options.model}",
        f"--served-model-name={options.served_name}",
        f"--port={names.HTTP_PORT}",
        f"--admin-port={names.ADMIN_PORT}",
        f"--drain-timeout-seconds={options.drain_seconds}",
        *_flag("--max-model-len", options.max_model_len),
    ]


def _vllm(options: ServeOptions) -> list[str]:
    return [
        f"--model={options.model}",
        f"--served-model-name={options.served_name}",
        "--host=0.0.0.0",
        f"--port={names.HTTP_PORT}",
        f"--tensor-parallel-size={options.tensor_parallel}",
        *_flag("--revision", options.revision),
        *_flag("--max-model-len", options.max_model_len),
    ]


def _sglang(options: ServeOptions) -> list[str]:
    return [
        "python3",
        "-m",
        "sglang.launch_server",
        f"--model-path={options.model}",
        f"--served-model-name={options.served_name}",
        "--host=0.0.0.0",
        f"--port={names.HTTP_PORT}",
        f"--tp-size={options.tensor_parallel}",
        "--enable-metrics",
        *_flag("--revision", options.revision),
        *_flag("--context-length", options.max_model_len),
    ]


def _tgi(options: ServeOptions) -> list[str]:
    return [
        f"--model-id={options.model}",
        "--hostname=0.0.0.0",
        f"--port={names.HTTP_PORT}",
        f"--num-shard={options.tensor_parallel}",
        *_flag("--revision", options.revision),
        *_flag("--max-total-tokens", options.max_model_len),
    ]


def _tensorrt_llm(options: ServeOptions) -> list[str]:
    """Its metrics are off unless a file says otherwise; a `--config` of the user comes later and wins."""
    return [
        "sh",
        "-c",
        f"printf '%s\\n' {' '.join(map(repr, _TENSORRT_LLM_METRICS))} > {_TENSORRT_LLM_CONFIG} && exec \"$@\"",
        "trtllm-serve",
        "trtllm-serve",
        "serve",
        options.model,
        "--host=0.0.0.0",
        f"--port={names.HTTP_PORT}",
        f"--tp_size={options.tensor_parallel}",
        f"--extra_llm_api_options={_TENSORRT_LLM_CONFIG}",
        *_flag("--revision", options.revision),
        *_flag("--max_seq_len", options.max_model_len),
    ]


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(
            "Penstock",
            _penstock,
            ready_path="/ready",
            downloads=False,
            admin_port=True,
            tensor_parallel=False,
            finishes=True,
        ),
        Engine("VLLM", _vllm),
        Engine("SGLang", _sglang, slots="--max-running-requests", step_tokens="--chunked-prefill-size"),
        Engine(
            "TGI",
            _tgi,
            slots="--max-batch-size",
            step_tokens="--max-batch-prefill-tokens",
            default_step_tokens=4096,
        ),
        Engine(
            "TensorRTLLM",
            _tensorrt_llm,
            metrics_path="/prometheus/metrics",
            slots="--max-batch-size",
            step_tokens="--max-num-tokens",
            default_step_tokens=8192,
        ),
    )
}


def serve_options(service: str, spec: InferenceServiceSpec) -> ServeOptions:
    """Serve options of a spec.

    Raises:
        EngineNotSupportedError: the engine cannot do what the spec asks; the message names field and fix.
    """
    engine = ENGINES[spec.runtime.engine]
    source = spec.model.source
    revision = None
    if source.hugging_face is not None:
        if not engine.downloads:
            raise EngineNotSupportedError(
                f"spec.model.source.huggingFace: engine {engine.name} loads a checkpoint from disk and downloads "
                "nothing; use pvc, image or containerPath, or another spec.runtime.engine"
            )
        model, revision = source.hugging_face.repo, source.hugging_face.revision
    elif source.container_path is not None:
        model = source.container_path
    elif source.pvc is not None and source.pvc.path:
        model = f"{MODEL_MOUNT}/{source.pvc.path}"
    else:
        model = MODEL_MOUNT
    count = spec.runtime.accelerator.count
    parallel = spec.runtime.tensor_parallel_size or max(1, count)
    if parallel > 1 and not engine.tensor_parallel:
        raise EngineNotSupportedError(
            f"spec.runtime.tensorParallelSize: engine {engine.name} runs on one accelerator, {parallel} asked; "
            "set it to 1 and spec.runtime.accelerator.count to at most 1, or use another spec.runtime.engine"
        )
    return ServeOptions(
        model=model,
        revision=revision,
        served_name=spec.model.name or service,
        max_model_len=spec.model.max_model_len,
        tensor_parallel=parallel,
        drain_seconds=spec.drain.timeout_seconds,
    )
