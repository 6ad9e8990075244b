"""The engine against measured replicas; skipped where the measurements are not at hand."""

import os
from pathlib import Path

import pytest

from penstock_contract.profile import load_profile
from penstock_lab.simulate import calibrate

BESIDE = Path(__file__).resolve().parents[4] / "shared" / "profiles"


@pytest.fixture(scope="module")
def folder() -> Path:
    found = Path(os.environ.get("PENSTOCK_PROFILES") or BESIDE)
    if not (found / calibrate.SAMPLE).is_file():
        pytest.skip(f"no {calibrate.SAMPLE} in {found}; PENSTOCK_PROFILES names the folder of the measurements")
    return found


@pytest.mark.parametrize("profile", calibrate.PROFILES.values())
def test_the_engine_agrees_with_what_was_measured(folder: Path, profile: str) -> None:
    points = [point for point in calibrate.points(folder) if point.profile == profile]
    assert len(points) == 15
    found = calibrate.errors(calibrate.compared(points))
    assert found.tpot <= 0.05
    assert found.ends <= 0.05
    assert found.ttft <= 0.15


def test_one_client_alone_waits_for_its_own_tokens_only() -> None:
    profile = load_profile("llama70b-fp8-tp4-h100")
    model = profile.model
    found = calibrate.replay(profile, prompt=1000, output=100, clients=1)
    assert found.ttft == pytest.approx(calibrate.API_SECONDS + model.c0 + 1000 * model.cP, rel=0.03)
    assert found.tpot == pytest.approx(model.c0 + model.cB + model.cKV * 1050, rel=0.01)
    assert found.ends == pytest.approx(found.ttft + 99 * found.tpot, rel=0.03)
    busier = calibrate.replay(profile, prompt=1000, output=100, clients=32)
    assert busier.ttft > found.ttft
    assert busier.tpot > found.tpot
