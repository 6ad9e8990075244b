"""Penstock's worker on a device from a table: the same program, but for how long a step lasts.

Run as the worker itself. `TABLE` names the table's file. The profile of `--emulate-device` still sets limits and
start-up; its step model is not used.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.sim_to_real.table import Noisy, read

from penstock_contract.step import StepModel
from penstock_worker.cli import main
from penstock_worker.pacing import EmulatedDevice

TABLE_ENV = "TABLE"


def _device(_model: StepModel) -> EmulatedDevice:
    noisy = Noisy(read(Path(os.environ[TABLE_ENV])), seed=os.getpid())
    return EmulatedDevice(noisy)  # type: ignore[arg-type]  # all that it asks of a model is `seconds`


if __name__ == "__main__":
    if "serve" in sys.argv:
        from penstock_worker import loader

        loader.EmulatedDevice = _device  # type: ignore[assignment,attr-defined]  # the one thing that differs
    main()
