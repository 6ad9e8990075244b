"""Every engine with every source: what it is told, or which field it refuses and how to mend it."""

from typing import Any

import pytest

from penstock_contract import names
from penstock_operator.api import Engine
from penstock_operator.api.runtime import OWNED_FLAGS
from penstock_operator.core.engines import ENGINES, MODEL_MOUNT, serve_options
from penstock_operator.core.errors import CoreError, EngineNotSupportedError

SOURCES: dict[str, tuple[dict[str, Any], str]] = {
    "hub": ({"huggingFace": {"repo": "Qwen/Qwen3-8B"}}, "Qwen/Qwen3-8B"),
    "pinned": ({"huggingFace": {"repo": "Qwen/Qwen3-8B", "revision": "9c925d6"}}, "Qwen/Qwen3-8B"),
    "volume": ({"pvc": {"claimName": "models"}}, MODEL_MOUNT),
    "folder": ({"pvc": {"claimName": "models", "path": "qwen3"}}, f"{MODEL_MOUNT}/qwen3"),
    "image": ({"image": {"reference": "reg/m@sha256:0"}}, MODEL_MOUNT),
    "path": ({"containerPath": "/models/m"}, "/models/m"),
}


def spec_of(service, engine: str, source: dict[str, Any], **runtime: Any):
    model = {"name": "tiny", "maxModelLen": 2048, "source": source}
    return service(model=model, runtime={"engine": engine} | runtime).spec


def test_every_engine_of_the_resource_has_a_row() -> None:
    assert set(ENGINES) == {str(engine) for engine in Engine}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_model_comes_from_the_source(service, engine: str, source: str) -> None:
    given, model = SOURCES[source]
    spec = spec_of(service, engine, given)
    if engine == "Penstock" and "huggingFace" in given:
        with pytest.raises(EngineNotSupportedError) as refusal:
            serve_options("chat", spec)
        assert "spec.model.source.huggingFace" in str(refusal.value)
        assert "use pvc, image or containerPath" in str(refusal.value)
        return
    options = serve_options("chat", spec)
    assert options.model == model
    assert options.revision == given.get("huggingFace", {}).get("revision")


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_resource_says_reaches_the_command_line(service, engine: str) -> None:
    pinned = "pinned" if ENGINES[engine].downloads else "path"
    parallel = 2 if ENGINES[engine].tensor_parallel else 1
    spec = spec_of(service, engine, SOURCES[pinned][0], accelerator={"count": parallel})
    args = ENGINES[engine].args(serve_options("chat", spec))
    values = {arg.partition("=")[2] or arg for arg in args}
    assert {SOURCES[pinned][1], "2048", str(names.HTTP_PORT)} <= values
    if ENGINES[engine].downloads:
        assert "9c925d6" in values, "a pinned revision that is dropped serves other weights"
    if ENGINES[engine].tensor_parallel:
        assert "2" in values


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_not_said_is_left_to_the_engine(service, engine: str) -> None:
    spec = service(model={"source": {"containerPath": "/m"}}, runtime={"engine": engine}).spec
    args = ENGINES[engine].args(serve_options("chat", spec))
    assert not [arg for arg in args if "None" in arg or "revision" in arg or "len" in arg or "total" in arg]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_flags_that_the_operator_writes_are_refused_in_the_resource(service, engine: str) -> None:
    source = SOURCES["pinned" if ENGINES[engine].downloads else "path"][0]
    args = ENGINES[engine].args(serve_options("chat", spec_of(service, engine, source)))
    flags = {arg.lstrip("-").partition("=")[0].replace("_", "-") for arg in args if arg.startswith("--")}
    of_metrics = {"enable-metrics", "extra-llm-api-options"}
    assert flags - of_metrics <= set(OWNED_FLAGS)


def test_the_served_name_is_that_of_the_resource_unless_given(service) -> None:
    named = service(model={"name": "tiny", "source": {"containerPath": "/m"}}).spec
    unnamed = service(model={"source": {"containerPath": "/m"}}).spec
    assert serve_options("chat", named).served_name == "tiny"
    assert serve_options("chat", unnamed).served_name == "chat"


@pytest.mark.parametrize(
    ("runtime", "parallel"),
    [
        ({"accelerator": {"count": 0}}, 1),
        ({"accelerator": {"count": 1}}, 1),
        ({"accelerator": {"count": 4}}, 4),
        ({"accelerator": {"count": 4}, "tensorParallelSize": 2}, 2),
        ({"accelerator": {"count": 0}, "tensorParallelSize": 2}, 2),
    ],
    ids=["cpu", "one", "all", "some", "cpu ranks"],
)
def test_an_engine_spreads_over_its_accelerators(service, runtime: dict[str, Any], parallel: int) -> None:
    assert serve_options("chat", spec_of(service, "VLLM", SOURCES["path"][0], **runtime)).tensor_parallel == parallel
    spec = spec_of(service, "Penstock", SOURCES["path"][0], **runtime)
    if parallel == 1:
        assert serve_options("chat", spec).tensor_parallel == 1
        return
    with pytest.raises(EngineNotSupportedError, match=f"spec.runtime.tensorParallelSize: .*{parallel} asked; set it"):
        serve_options("chat", spec)


def test_every_refusal_is_a_reason_of_accepted() -> None:
    from penstock_operator.api import AcceptedReason

    assert {error.reason for error in CoreError.__subclasses__()} <= {str(reason) for reason in AcceptedReason}
