"""What `status.learned` says, and how seldom it changes: by more than a tenth, and at most every ten minutes."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

PERIOD_SECONDS = 600.0
_SMALLEST_CHANGE_SECONDS = 1.0


class Lessons:
    """When what of each service, by uid, was last written."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def of(
        self, uid: str, startup_seconds: float | None, live: dict[str, Any] | None, now: float
    ) -> tuple[dict[str, Any] | None, bool]:
        """What to write now, and whether something else is due once the ten minutes have passed.

        Args:
            uid: of the service.
            startup_seconds: as its pods tell; None = they do not.
            live: `status.learned` as it stands.
            now: Unix seconds.
        """
        kept = dict(live) if live else None
        known = (live or {}).get("startupSecondsP90")
        if startup_seconds is None:
            return kept, False
        if known and abs(startup_seconds - known) <= max(_SMALLEST_CHANGE_SECONDS, 0.1 * known):
            return kept, False
        if known and now - self._at.setdefault(uid, float("-inf")) < PERIOD_SECONDS:
            return kept, True
        self._at[uid] = now
        return {"startupSecondsP90": round(startup_seconds)}, False

    def keep(self, uids: AbstractSet[str]) -> None:
        """Forget all services but these."""
        for uid in self._at.keys() - uids:
            del self._at[uid]
