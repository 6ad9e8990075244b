"""Every example, applied to a real cluster with operator and gateway, does what its comments say."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from penstock_contract.profile import load_profile
from penstock_lab.demo.scenario import PROFILE
from serving import Api
from waiting import eventually

pytestmark = pytest.mark.cluster

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TESTED = {"chat", "static", "vllm-chat", "scale-to-zero", "cost-cap", "shared-gpus"}
Apply = Callable[[str], None]


def complete(gateway: str, api: Api, service: str, *, tokens: int = 8) -> requests.Response:
    return requests.post(
        f"{gateway}/{api.namespace}/{service}/v1/completions",
        json={"model": service, "prompt": "The gate", "max_tokens": tokens, "ignore_eos": True},
        timeout=120,
    )


@contextmanager
def busy(gateway: str, api: Api, service: str, *, clients: int) -> Iterator[list[int]]:
    """That many clients, each with one request after the other; yields the status codes so far."""
    codes: list[int] = []
    ended = threading.Event()

    def client() -> None:
        while not ended.is_set():
            codes.append(complete(gateway, api, service, tokens=64).status_code)

    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(client) for _ in range(clients)]
        try:
            yield codes
        finally:
            ended.set()
        for future in futures:
            future.result()


def container(api: Api, service: str) -> dict:
    return api.get("deployment", service)["spec"]["template"]["spec"]["containers"][0]


def test_all_examples_are_tested_here():
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == TESTED


def test_the_profile_of_the_examples_is_the_demos():
    assert load_profile(str(EXAMPLES / "models" / "demo-profile.json")) == PROFILE


def test_chat_serves_and_vllm_that_cannot_be_pulled_says_so_and_disturbs_nobody(
    api: Api, apply: Apply, gateway: str
) -> None:
    apply("vllm-chat")
    apply("chat")

    api.wait("chat", "Ready", "True", "Ready")
    assert container(api, "chat")["args"][-1] == "--emulate-device=/models/demo-profile.json"
    assert container(api, "chat")["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert {item["metadata"]["name"] for item in api.items("service")} == {"chat", "vllm-chat"}
    assert {item["metadata"]["name"] for item in api.items("pdb")} == {"chat", "vllm-chat"}

    found = api.wait("vllm-chat", "Available", "False", "ImagePullFailed")
    assert "image vllm/vllm-openai:" in found["message"]
    assert api.condition("vllm-chat", "Ready")["reason"] == "ImagePullFailed"
    assert api.condition("vllm-chat", "Accepted")["status"] == "True"
    assert api.wait("vllm-chat", "ScalingActive", "False", "SignalsAbsent")["message"].startswith("no fewer replicas")
    worker = container(api, "vllm-chat")
    assert worker["args"] == [
        "--model=Qwen/Qwen3-8B",
        "--served-model-name=qwen3-8b",
        "--host=0.0.0.0",
        "--port=8000",
        "--tensor-parallel-size=1",
        "--max-model-len=8192",
        "--max-num-seqs=128",
    ]
    assert worker["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert api.get("deployment", "vllm-chat")["spec"]["replicas"] == 1

    answer = complete(gateway, api, "chat")
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 8
    assert api.condition("chat", "Ready")["status"] == "True"


def test_static_has_the_number_that_is_set(api: Api, apply: Apply, gateway: str) -> None:
    apply("static")
    api.wait("static", "Ready", "True", "Ready")
    eventually(lambda: len(api.ready_pods("static")) == 2, what="two replicas")
    assert "limits" not in container(api, "static")["resources"]
    assert api.condition("static", "ScalingActive")["reason"] == "ManualReplicas"
    assert complete(gateway, api, "static").status_code == 200

    api.run("scale", "infsvc/static", "--replicas=3", "-n", api.namespace)
    eventually(lambda: len(api.ready_pods("static")) == 3, what="three replicas")


def test_scale_to_zero_has_no_pod_until_somebody_asks(api: Api, apply: Apply, gateway: str) -> None:
    apply("scale-to-zero")
    api.wait("nightly", "Available", "False", "ScaledToZero")
    assert api.pods("nightly") == []

    answer = complete(gateway, api, "nightly")
    assert answer.status_code == 200, answer.text
    assert len(api.ready_pods("nightly")) == 1

    api.wait("nightly", "Available", "False", "ScaledToZero", seconds=180)
    eventually(lambda: api.pods("nightly") == [], what="the idle replica is gone")


def test_cost_cap_stops_at_what_the_budget_pays_for(api: Api, apply: Apply, gateway: str) -> None:
    apply("cost-cap")
    api.wait("thrifty", "Ready", "True", "Ready")
    with busy(gateway, api, "thrifty", clients=48) as codes:
        found = api.wait("thrifty", "ScalingLimited", "True", "BudgetCap", seconds=180)
        assert "limited to 2 by budget" in found["message"]
        eventually(lambda: len(api.ready_pods("thrifty")) == 2, what="the two replicas that the budget pays for")
    assert api.get("deployment", "thrifty")["spec"]["replicas"] == 2
    assert set(codes) == {200}


def test_shared_gpus_go_to_the_service_with_the_higher_priority(api: Api, apply: Apply) -> None:
    apply("shared-gpus")
    api.wait("online", "Ready", "True", "Ready")
    api.wait("batch", "Ready", "True", "Ready")
    limits = {name: container(api, name)["resources"]["limits"] for name in ("online", "batch")}
    assert limits == {"online": {"nvidia.com/gpu": "1"}, "batch": {"nvidia.com/gpu": "1"}}

    def want(service: str, replicas: int) -> None:
        api.patch("infsvc", service, {"spec": {"scaling": {"minReplicas": replicas}}})

    want("batch", 4)
    eventually(lambda: len(api.ready_pods("batch")) == 4, what="four replicas of batch", seconds=180)
    want("online", 6)
    eventually(lambda: len(api.ready_pods("online")) == 6, what="six replicas of online", seconds=180)
    found = api.wait("batch", "Progressing", "False", "Unschedulable")
    assert "nvidia.com/gpu" in found["message"]
    assert len(api.ready_pods("batch")) == 2
    ready = api.condition("batch", "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Unschedulable"), json.dumps(ready)
