"""What the demo serves, how fast its emulated device is, and the load it gets.

The numbers belong together: a replica saturates at about `max_num_seqs / step` generated tokens/s (16 / 45 ms = 355),
the example's target is below that, and the burst asks for several times the target.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.load.schedule import Lengths, Phase

NAMESPACE = "demo"
SERVICE = "chat"
VOCABULARY = 512
SEED = 7

PROFILE = Profile(
    name="demo-emulated",
    model=StepModel(c0=0.040, cB=0.0003, cKV=1e-8, cP=0.00002, cPP=0.0),
    kv_tokens=16_384,
    max_num_seqs=16,
    max_num_batched_tokens=512,
    accelerators=1,
    startup_seconds=4.0,
    source="made up for the demo: slow enough that two cores can run eight workers",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run.

    Attributes:
        examples: folder of manifests that are applied.
        out: folder of everything that is written.
        phases: the load.
        lengths: of its requests.
        scale_down_deadline_seconds: after the load, until one replica is left.
    """

    examples: Path
    out: Path
    phases: tuple[Phase, ...] = (
        Phase("quiet", 20.0, 2.0),
        Phase("burst", 60.0, 15.0),
        Phase("quiet again", 30.0, 2.0),
    )
    lengths: Lengths = field(default_factory=Lengths)
    scale_down_deadline_seconds: float = 90.0
