"""The simulated twin of a live run is judged by, and told of, the objectives of that run."""

from benchmarks.live.result import twin_setting
from benchmarks.live.scenario import MOST_REPLICAS, OBJECTIVES, PROFILE


def test_the_twin_is_told_of_misses_by_the_objectives_of_the_run() -> None:
    """A service told by another threshold sees every request miss, or none, and scales by that."""
    setting = twin_setting(3, PROFILE, 1)
    assert (setting.ttft_seconds, setting.tpot_seconds) == (OBJECTIVES.ttft_seconds, OBJECTIVES.tpot_seconds)
    assert (setting.initial_replicas, setting.max_replicas, setting.seed) == (3, MOST_REPLICAS, 1)
