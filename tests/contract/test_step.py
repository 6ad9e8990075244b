import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_contract.step import StepModel, StepWork

MODEL = StepModel(c0=0.01, cB=0.0005, cKV=2e-7, cP=4e-5, cPP=1e-9)


@given(sequences=st.integers(1, 64), context=st.integers(0, 100_000), steps=st.integers(1, 300))
def test_a_decode_run_in_closed_form_equals_its_steps(sequences: int, context: int, steps: int) -> None:
    one_by_one = sum(
        MODEL.seconds(StepWork(decode_sequences=sequences, kv_tokens=context + sequences * step))
        for step in range(steps)
    )
    closed = MODEL.decode_run_seconds(sequences=sequences, kv_tokens=context, steps=steps)
    assert closed == pytest.approx(one_by_one, rel=1e-9)


def test_the_model_is_linear_in_the_sums() -> None:
    first = StepWork(steps=2, decode_sequences=5, kv_tokens=900, prefill_tokens=64, prefill_token_length=6400)
    second = StepWork(steps=1, prefill_tokens=10, prefill_token_length=100)
    both = StepWork(steps=3, decode_sequences=5, kv_tokens=900, prefill_tokens=74, prefill_token_length=6500)
    assert MODEL.seconds(both) == pytest.approx(MODEL.seconds(first) + MODEL.seconds(second))


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_impossible_coefficients_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="cKV must be a finite number of seconds"):
        StepModel(c0=0.0, cB=0.0, cKV=value, cP=0.0, cPP=0.0)
