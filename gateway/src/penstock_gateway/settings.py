"""Everything that the environment decides, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock_contract import names
from penstock_gateway.errors import ConfigurationError

_ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - clients, probes and Prometheus come from other hosts
_DRAIN_SECONDS: Final = 120.0
_HELD_BODIES_MEBIBYTES: Final = 1024.0
_MAX_BODY_BYTES: Final = 8 << 20
_HEAD_SECONDS: Final = 20.0
_IDLE_SECONDS: Final = 600.0  # longer than load balancers keep their connections


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the gateway.

    Attributes:
        kubeconfig: file; None = the pod's service account.
        namespaces: watched namespaces; empty = all.
        host: address of both listeners.
        port: of the API.
        admin_port: of probes, metrics and demand; 0 picks a free one, as for `port`.
        api_keys_file: one key per line; None = no key is asked for.
        drain_seconds: longest time after SIGTERM in which requests may finish.
        held_bodies_bytes: memory for the bodies of requests that no worker has answered yet.
        max_body_bytes: of one request.
        head_seconds: longest time in which the head of a request comes in full.
        idle_seconds: longest time that a client's connection is kept between requests.
        paced: hold requests so that first tokens and the time per token keep to their objectives.
    """

    kubeconfig: str | None = None
    namespaces: tuple[str, ...] = ()
    host: str = _ANY_ADDRESS
    port: int = names.GATEWAY_PORT
    admin_port: int = names.GATEWAY_ADMIN_PORT
    api_keys_file: Path | None = None
    drain_seconds: float = _DRAIN_SECONDS
    held_bodies_bytes: int = int(_HELD_BODIES_MEBIBYTES) << 20
    max_body_bytes: int = _MAX_BODY_BYTES
    head_seconds: float = _HEAD_SECONDS
    idle_seconds: float = _IDLE_SECONDS
    paced: bool = True

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Settings:
        """Settings from environment variables.

        Raises:
            ConfigurationError: a variable holds a wrong value.
        """
        keys = env.get("PENSTOCK_API_KEYS_FILE")
        return cls(
            kubeconfig=env.get("KUBECONFIG") or None,
            namespaces=tuple(part.strip() for part in env.get("PENSTOCK_NAMESPACES", "").split(",") if part.strip()),
            host=env.get(names.BIND_ADDRESS_ENV) or _ANY_ADDRESS,
            port=_port(env, "PENSTOCK_GATEWAY_PORT", names.GATEWAY_PORT),
            admin_port=_port(env, "PENSTOCK_GATEWAY_ADMIN_PORT", names.GATEWAY_ADMIN_PORT),
            api_keys_file=Path(keys) if keys else None,
            drain_seconds=_number(env, "PENSTOCK_DRAIN_SECONDS", _DRAIN_SECONDS),
            held_bodies_bytes=int(_number(env, "PENSTOCK_HELD_BODIES_MEBIBYTES", _HELD_BODIES_MEBIBYTES) * 2**20),
            max_body_bytes=int(_number(env, "PENSTOCK_MAX_BODY_BYTES", _MAX_BODY_BYTES)),
            head_seconds=_number(env, "PENSTOCK_HEAD_SECONDS", _HEAD_SECONDS),
            idle_seconds=_number(env, "PENSTOCK_IDLE_SECONDS", _IDLE_SECONDS),
            paced=_switch(env, "PENSTOCK_PACED", default=True),
        )


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ConfigurationError(f"{name} must be a positive number, got {text!r}")
    return value


def _switch(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = env.get(name)
    if text not in (None, "", "true", "false"):
        raise ConfigurationError(f"{name} must be true or false, got {text!r}")
    return text == "true" if text else default


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ConfigurationError(f"{name} must be a port from 0 to 65535, got {text!r}")
    return int(text)
