"""What probes and lifecycle hooks do to a container: httpGet, tcpSocket, exec and sleep."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from penstock_lab.nodeagent.errors import StartError
from penstock_lab.nodeagent.process import execute

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from penstock_lab.nodeagent.paths import PathMap

_OUTPUT_BYTES: Final = 1024
_USER_AGENT: Final = "kube-probe/penstock"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an action went; `message` explains a failure."""

    ok: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A running container as actions see it."""

    address: str
    ports: Mapping[str, int]
    environment: Mapping[str, str]
    folder: Path
    paths: PathMap


class Actions:
    """Performs actions against one container; connections are never reused, as in a kubelet."""

    def __init__(self, *, session: aiohttp.ClientSession, target: Target) -> None:
        self._session = session
        self._target = target

    async def probe(self, probe: dict[str, Any]) -> Outcome:
        """Perform a probe's action within its timeout."""
        seconds = float(probe.get("timeoutSeconds", 1))
        try:
            async with asyncio.timeout(seconds):
                return await self._perform(probe, judge_status=True)
        except TimeoutError:
            return Outcome(ok=False, message=f"probe timed out after {seconds:g}s")

    async def hook(self, handler: dict[str, Any]) -> Outcome:
        """Perform a lifecycle handler; any HTTP answer counts, as in a kubelet. The caller bounds the time."""
        return await self._perform(handler, judge_status=False)

    async def _perform(self, action: dict[str, Any], *, judge_status: bool) -> Outcome:
        if "exec" in action:
            return await self._exec(action["exec"].get("command", []))
        if "httpGet" in action:
            return await self._http(action["httpGet"], judge_status=judge_status)
        if "tcpSocket" in action:
            return await self._tcp(action["tcpSocket"])
        if "sleep" in action:
            await asyncio.sleep(float(action["sleep"]["seconds"]))
            return Outcome(ok=True)
        return Outcome(ok=False, message="grpc is not supported by the node agent; use httpGet, tcpSocket or exec")

    async def _http(self, get: dict[str, Any], *, judge_status: bool) -> Outcome:
        host, port = get.get("host") or self._target.address, self._port(get["port"])
        if port is None:
            return Outcome(ok=False, message=f"couldn't find port: {get['port']}")
        scheme, path = get.get("scheme", "HTTP").lower(), get.get("path", "/").lstrip("/")
        url = f"{scheme}://{host}:{port}/{path}"
        headers = {"User-Agent": _USER_AGENT, "Accept": "*/*"}
        headers |= {header["name"]: header["value"] for header in get.get("httpHeaders", ())}
        try:
            async with self._session.get(url, headers=headers) as response:
                if judge_status and not 200 <= response.status < 400:
                    return Outcome(ok=False, message=f"HTTP probe failed with statuscode: {response.status}")
                return Outcome(ok=True)
        except (aiohttp.ClientError, OSError) as error:
            return Outcome(ok=False, message=f'Get "{url}": {_why(error)}')

    async def _tcp(self, socket: dict[str, Any]) -> Outcome:
        host, port = socket.get("host") or self._target.address, self._port(socket["port"])
        if port is None:
            return Outcome(ok=False, message=f"couldn't find port: {socket['port']}")
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            return Outcome(ok=False, message=f"dial tcp {host}:{port}: {_why(error)}")
        writer.close()
        return Outcome(ok=True)

    async def _exec(self, command: list[str]) -> Outcome:
        argv = [self._target.paths.rewrite(word) for word in command]
        with tempfile.TemporaryFile() as output:
            try:
                process = execute(
                    argv, env=self._target.environment, folder=self._target.folder, output=output.fileno()
                )
            except StartError as error:
                return Outcome(ok=False, message=str(error))
            try:
                code = await process.wait()
            finally:
                process.signal_group(signal.SIGKILL)
            text = os.pread(output.fileno(), _OUTPUT_BYTES, 0).decode(errors="replace").strip()
        return Outcome(ok=code == 0, message=text or f"command {command!r} exited with {code}")

    def _port(self, port: int | str) -> int | None:
        return self._target.ports.get(port) if isinstance(port, str) else port


def _why(error: Exception) -> str:
    """Name a failure to connect in the system's words; asyncio's own repeat the address."""
    number = getattr(error, "errno", None)
    return os.strerror(number).lower() if number else str(error) or type(error).__name__
