"""A load generator that nobody here wrote sends its traffic through the gateway and loses nothing.

Opt-in, since it installs 800 MB: `uv venv .aiperf && uv pip install --python .aiperf/bin/python aiperf`, then
`PENSTOCK_AIPERF=.aiperf/bin/aiperf pytest tests/gateway/test_load_tools.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess

import pytest

from gateway_world import MODEL

REQUESTS = 60


@pytest.mark.slow
@pytest.mark.skipif("PENSTOCK_AIPERF" not in os.environ, reason="PENSTOCK_AIPERF does not name a binary")
async def test_aiperf(world, tiny, tmp_path):
    service, workers = await world.serving(2, device={"slots": 8, "step_seconds": 0.01})
    command = [os.environ["PENSTOCK_AIPERF"], "profile", "-m", MODEL, "--url", world.base(service).removesuffix("/v1")]
    command += ["--endpoint-type", "chat", "--streaming", "--tokenizer", str(tiny), "--ui", "none"]
    command += ["--concurrency", "16", "--request-count", str(REQUESTS), "--isl", "64", "--osl", "32"]
    command += ["--extra-inputs", "ignore_eos:true", "--artifact-dir", str(tmp_path / "aiperf")]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False, timeout=280, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (report,) = (tmp_path / "aiperf").rglob("profile_export_aiperf.json")
    found = json.loads(report.read_text())
    print(json.dumps({key: value for key, value in found.items() if "request" in key or "token" in key})[:2000])
    assert found["request_count"]["avg"] == REQUESTS
    assert found.get("error_summary") in (None, [])
    arrived = await world.metric(service, "requests_arrived_total")
    assert arrived == await world.metric(service, "e2e_seconds_count") >= REQUESTS
    assert sum([await world.of_worker(worker, "requests_arrived_total") for worker in workers]) == arrived
