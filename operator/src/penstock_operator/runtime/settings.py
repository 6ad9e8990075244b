"""Everything that the environment decides, read once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penstock_operator.adapters.prometheus import Access
from penstock_operator.core.scaling.types import LONGEST_GAP_SECONDS

ENGINES = ("Penstock", "VLLM", "SGLang", "TGI", "TensorRTLLM")
_DEFAULT_IMAGES: Mapping[str, str] = {
    "Penstock": "penstock/worker:0.1.0",
    "VLLM": "vllm/vllm-openai:v0.33.0",
    "SGLang": "lmsysorg/sglang:v0.5.23",
    "TGI": "ghcr.io/huggingface/text-generation-inference:3.3.6",
    # A release candidate, since no final release up to 1.2.1 tells how many requests run and wait.
    "TensorRTLLM": "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc29",
}


class SettingsError(ValueError):
    """An environment variable holds a wrong value; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the operator.

    Attributes:
        kubeconfig: file; None = the pod's service account.
        namespaces: watched namespaces; empty = all.
        prometheus_url: query API.
        prometheus_access: what Prometheus asks of those who query it.
        tick_seconds: period of the autoscale loop.
        resync_seconds: period of the full list against missed events.
        workers: concurrent reconciles and writes.
        listen_host: address of `/livez`, `/readyz`, `/metrics`.
        listen_port: its port.
        default_images: image by engine.
        gateway_namespace: where pods may count as gateways; None = anywhere.
    """

    prometheus_url: str
    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    prometheus_access: Access = field(default_factory=Access)
    tick_seconds: float = 5.0
    resync_seconds: float = 600.0
    workers: int = 8
    listen_host: str = "0.0.0.0"  # noqa: S104 - probes and Prometheus come from other hosts
    listen_port: int = 8080
    default_images: Mapping[str, str] = field(default_factory=lambda: dict(_DEFAULT_IMAGES))
    gateway_namespace: str | None = None

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Settings:
        """Settings from environment variables.

        Raises:
            SettingsError: a variable is missing or wrong.
        """
        url = env.get("PENSTOCK_PROMETHEUS_URL", "")
        if not url.startswith(("http://", "https://")):
            raise SettingsError(f"PENSTOCK_PROMETHEUS_URL must be an http(s) URL of Prometheus, got {url!r}")
        images = {name: env.get(f"PENSTOCK_IMAGE_{name.upper()}", _DEFAULT_IMAGES[name]) for name in ENGINES}
        return cls(
            prometheus_url=url.rstrip("/"),
            kubeconfig=env.get("KUBECONFIG") or None,
            namespaces=tuple(part.strip() for part in env.get("PENSTOCK_NAMESPACES", "").split(",") if part.strip()),
            prometheus_access=prometheus_access(env),
            tick_seconds=_number(env, "PENSTOCK_TICK_SECONDS", 5.0, longest=LONGEST_GAP_SECONDS),
            resync_seconds=_number(env, "PENSTOCK_RESYNC_SECONDS", 600.0),
            workers=_integer(env, "PENSTOCK_WORKERS", 8, largest=1024),
            listen_host=env.get("PENSTOCK_BIND_ADDRESS", "0.0.0.0"),  # noqa: S104 - as above
            listen_port=_integer(env, "PENSTOCK_LISTEN_PORT", 8080, largest=65535),
            default_images=images,
            gateway_namespace=env.get("PENSTOCK_GATEWAY_NAMESPACE") or None,
        )


def prometheus_access(env: Mapping[str, str]) -> Access:
    """What Prometheus asks for, also as `penstock doctor` reads it inside the cluster.

    Raises:
        SettingsError: variables are wrong or contradict each other.
    """
    found = Access(
        token_file=_path(env, "PENSTOCK_PROMETHEUS_TOKEN_FILE"),
        username_file=_path(env, "PENSTOCK_PROMETHEUS_USERNAME_FILE"),
        password_file=_path(env, "PENSTOCK_PROMETHEUS_PASSWORD_FILE"),
        ca_file=_path(env, "PENSTOCK_PROMETHEUS_CA_FILE"),
        headers=_headers(env, "PENSTOCK_PROMETHEUS_HEADERS"),
    )
    if (found.username_file is None) != (found.password_file is None):
        raise SettingsError("PENSTOCK_PROMETHEUS_USERNAME_FILE and PENSTOCK_PROMETHEUS_PASSWORD_FILE go together")
    if found.token_file is not None and found.username_file is not None:
        raise SettingsError(
            "PENSTOCK_PROMETHEUS_TOKEN_FILE and PENSTOCK_PROMETHEUS_USERNAME_FILE are both set: Prometheus takes one"
        )
    return found


def _headers(env: Mapping[str, str], name: str) -> dict[str, str]:
    text = env.get(name)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise SettingsError(f'{name} must be a JSON object of strings such as {{"X-Scope-OrgID": "team-a"}}')
    for key, value in found.items():
        if not re.fullmatch(r"[A-Za-z0-9-]+", key) or key.lower() == "authorization":
            raise SettingsError(f"{name}: {key!r} is no header that may be set; credentials come from files")
        if not re.fullmatch(r"[!-~]([ -~]*[!-~])?", value):
            raise SettingsError(f"{name}: the value of {key} must be printable ASCII without spaces around it")
    return found


def _path(env: Mapping[str, str], name: str) -> Path | None:
    return Path(env[name]) if env.get(name) else None


def _number(env: Mapping[str, str], name: str, default: float, *, longest: float = 86_400.0) -> float:
    """Seconds; more than `longest` is a mistake."""
    text = env.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= longest:
        raise SettingsError(f"{name} must be a number of seconds above 0 and at most {longest:g}, got {text!r}")
    return value


def _integer(env: Mapping[str, str], name: str, default: int, *, largest: int) -> int:
    text = env.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= largest):
        raise SettingsError(f"{name} must be an integer from 1 to {largest}, got {text!r}")
    return int(text)
