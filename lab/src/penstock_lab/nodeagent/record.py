"""What is known of each container: the mutable truth from which statuses are computed.

States have the API's own shape (`{"running": {"startedAt": …}}`), so that a status is a copy and not a translation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

State = dict[str, dict[str, Any]]

LOST_EXIT_CODE = 137


def timestamp() -> str:
    """Return the current time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(reason: str, message: str = "") -> State:
    """Return a waiting state."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


@dataclass(slots=True)
class ContainerRecord:
    """One container over all its runs."""

    name: str
    image: str
    state: State = field(default_factory=lambda: waiting("ContainerCreating"))
    last_state: State = field(default_factory=dict)
    restarts: int = 0
    started: bool = False
    ready: bool = False
    container_id: str = ""
    image_id: str = ""
    pid: int | None = None

    @property
    def exit_code(self) -> int | None:
        """The exit code if it has ended and is not about to start again, else None."""
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    def resume(self, status: dict[str, Any]) -> None:
        """Take over what an earlier agent reported; what it reported as running has died with it."""
        self.restarts = int(status.get("restartCount", 0))
        self.container_id = str(status.get("containerID", ""))
        self.image_id = str(status.get("imageID", ""))
        self.last_state = dict(status.get("lastState", {}))
        old: State = status.get("state", {})
        if "terminated" in old:
            self.state = old
        elif "running" in old:
            self.state = {"terminated": self._lost(old["running"].get("startedAt"))}

    def to_status(self) -> dict[str, Any]:
        """Return the container's entry in `containerStatuses`."""
        status: dict[str, Any] = {
            "name": self.name,
            "image": self.image,
            "imageID": self.image_id,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
        }
        if self.container_id:
            status["containerID"] = self.container_id
        return status

    def _lost(self, started_at: str | None) -> dict[str, Any]:
        return {
            "exitCode": LOST_EXIT_CODE,
            "reason": "ContainerStatusUnknown",
            "message": "The container was running when the node agent ended, and ended with it",
            "startedAt": started_at,
            "finishedAt": timestamp(),
            "containerID": self.container_id,
        }

    def conclude(self) -> None:
        """Nothing will be started again: show the last end, or that there never was a beginning."""
        self.ready = self.started = False
        self.pid = None
        if "terminated" in self.state:
            return
        if "terminated" in self.last_state:
            self.state, self.last_state = self.last_state, {}
            return
        self.state = {
            "terminated": {
                "exitCode": LOST_EXIT_CODE,
                "reason": "ContainerStatusUnknown",
                "message": "The container had not been started when the pod was terminated",
            }
        }
