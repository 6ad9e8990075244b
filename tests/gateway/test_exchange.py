"""What an exchange takes from the head of a worker's answer."""

from __future__ import annotations

import pytest

from penstock_contract.names import HEADER_TPOT
from penstock_gateway.directory import Service
from penstock_gateway.exchange import Exchange
from penstock_gateway.inquiry import read


@pytest.mark.parametrize(
    ("value", "taken"), [(b"0.02", 0.02), (b"nan", None), (b"inf", None), (b"-1", None), (b"x", None)]
)
def test_a_duration_that_cannot_be_is_not_taken(value: bytes, taken: float | None):
    asked = read(b'{"model": "tiny", "prompt": "hello"}')
    exchange = Exchange(
        Service(("team", "chat")), asked, path="/v1/completions", head=b"", body=b"", request_id="1", arrived=0.0
    )
    exchange.report({HEADER_TPOT.lower().encode(): value})
    exchange.count(100)
    assert exchange.timings(1.0).tpot == taken
