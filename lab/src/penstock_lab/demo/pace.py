"""Whether the emulated devices kept their pace: what their steps took against what the profile says they take.

Two cores carry everything, so a worker may be late with a step. The workers count their steps, the work in them and
their time; the step model turns the same work into the time it should have taken. Counters of pods that are gone are
still in Prometheus.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import aiohttp

from penstock_contract import names
from penstock_contract.step import StepModel, StepWork
from penstock_lab.demo.errors import DemoError

TOLERATED = 1.1
_WINDOW = "30m"
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_WORK = {
    "steps": "engine_steps",
    "decode_sequences": "decode_sequence_steps",
    "kv_tokens": "kv_token_steps",
    "prefill_tokens": "prefill_tokens_computed",
    "prefill_token_length": "prefill_token_length",
}


@dataclass(frozen=True, slots=True)
class Pace:
    """Steps of all workers of a run.

    Attributes:
        steps: taken.
        late: of them, those not done when the emulated device would have been.
        seconds: that they took together.
        modelled_seconds: that the profile says they take.
    """

    steps: int
    late: int
    seconds: float
    modelled_seconds: float

    @property
    def ratio(self) -> float | None:
        """Time taken over time modelled; 1 is exact."""
        return self.seconds / self.modelled_seconds if self.modelled_seconds > 0 else None

    @property
    def kept(self) -> bool:
        """Whether the emulation may be believed."""
        return self.ratio is not None and self.ratio <= TOLERATED

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        ratio = None if self.ratio is None else round(self.ratio, 4)
        return {**asdict(self), "ratio": ratio, "kept": self.kept}

    def sentence(self) -> str:
        """For people."""
        if self.ratio is None:
            return "Whether the emulated devices kept their pace is not known: no steps were counted."
        share = self.late / self.steps if self.steps else 0.0
        how = (
            "so latencies are those of the emulated device"
            if self.kept
            else "so this machine was too busy: latencies are worse than the emulated device's"
        )
        return (
            f"The emulated devices took {self.ratio:.2f} times their modelled time ({self.steps} steps, "
            f"{share:.1%} late), {how}."
        )


async def measure_pace(url: str, *, namespace: str, service: str, model: StepModel) -> Pace:
    """Ask Prometheus for the work of all workers that a service had in the last half hour.

    Args:
        url: of Prometheus.
        namespace: of the service.
        service: its name.
        model: of the emulated device.

    Raises:
        DemoError: Prometheus did not answer.
    """
    selector = f'{{{names.LABEL_NAMESPACE}="{namespace}",{names.LABEL_SERVICE}="{service}"}}'
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:

        async def total(name: str) -> float:
            series = f"penstock_worker_{name}_total{selector}"
            params = {"query": f"sum(max_over_time({series}[{_WINDOW}]))"}
            async with session.get(f"{url}/api/v1/query", params=params) as response:
                response.raise_for_status()
                found = (await response.json())["data"]["result"]
                return float(found[0]["value"][1]) if found else 0.0

        try:
            work = StepWork(**{field: await total(name) for field, name in _WORK.items()})
            seconds, late = await total("engine_step_seconds"), await total("emulated_step_overruns")
        except (aiohttp.ClientError, OSError, TimeoutError, LookupError, ValueError) as error:
            raise DemoError(f"Prometheus at {url} does not tell the workers' steps: {error}") from error
    return Pace(steps=int(work.steps), late=int(late), seconds=seconds, modelled_seconds=model.seconds(work))
