"""What a sweep says of a step that did not count, and why it did not."""

from __future__ import annotations

import pytest

from penstock_lab.load.sweep import Sweep


def report(*, valid=True, kept_up=True, interrupted=False):
    share = {"attainment": 1.0, "low": 0.99, "high": 1.0, "met": 100, "of": 100}
    return {
        "meta": {"interrupted": interrupted}, "valid": valid, "problems": [], "requests": {}, "latency": {},
        "rates": {"output_tokens_per_second": 1.0}, "objectives": {"all": share}, "sender": {"kept_up": kept_up},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({"valid": False}, "20 requests/s missed"),  # requests were given up: the endpoint's doing
        ({"valid": False, "kept_up": False}, "20 requests/s was more than this generator can send"),
        ({"valid": False, "interrupted": True}, "20 requests/s was interrupted"),
    ],
    ids=["given up", "fell behind", "interrupted"],
)
async def test_the_knee_tells_why_the_next_rate_does_not_count(second, says):
    async def step(rate):
        return report(**second) if rate > 10 else report()

    sweep = Sweep(step, 0.99, 2)
    await sweep.search([10.0, 20.0], first=1.0)
    knee = sweep.to_json(meta={}, objectives={})["knee"]
    assert knee["requests_per_second"] == 10.0
    assert says in knee["explanation"]
