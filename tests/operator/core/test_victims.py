from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.victims import SETTLE_SECONDS, Candidate, plan

NOW = 1_000_000.0


def pod(
    name: str, *, ready: bool = True, since: float | None = None, work: float | None = 0.0, sentenced: bool = False
) -> Candidate:
    created = "2026-11-21T10:00:00Z"
    return Candidate(
        name, ready=ready, scheduled=True, created=created, draining_since=since, work=work, sentenced=sentenced
    )


def step(*pods: Candidate, wanted: int, current: int | None = None):
    return plan(pods, current=len(pods) if current is None else current, wanted=wanted, now=NOW, timeout_seconds=60)


def test_the_least_loaded_is_marked_and_nothing_is_removed_yet() -> None:
    found = step(pod("a", work=5), pod("b", work=2), pod("c", work=9), wanted=2)
    assert (found.mark, found.remove, found.replicas) == (("b",), (), 3)


def test_a_pod_that_cannot_be_asked_is_the_last_choice() -> None:
    assert step(pod("a", work=None), pod("b", work=9), wanted=1).mark == ("b",)


def test_a_pod_that_does_not_serve_goes_first_and_at_once() -> None:
    found = step(pod("a"), pod("b", ready=False, work=None), wanted=1)
    assert (found.mark, found.remove, found.replicas) == ((), ("b",), 1)


def test_a_marked_pod_goes_when_it_is_idle_and_not_before() -> None:
    since = NOW - 10
    assert step(pod("a"), pod("b", since=since, work=1), wanted=1).replicas == 2
    found = step(pod("a"), pod("b", since=since, work=0), wanted=1)
    assert (found.remove, found.replicas) == (("b",), 1)


def test_routers_get_a_moment_to_see_the_mark() -> None:
    assert step(pod("a"), pod("b", since=NOW - SETTLE_SECONDS / 2), wanted=1).remove == ()


def test_a_pod_that_never_gets_idle_goes_when_its_time_is_up() -> None:
    assert step(pod("a"), pod("b", since=NOW - 59, work=3), wanted=1).remove == ()
    assert step(pod("a"), pod("b", since=NOW - 60, work=3), wanted=1).remove == ("b",)
    assert step(pod("a"), pod("b", since=NOW - 60, work=None), wanted=1).remove == ("b",)


def test_load_that_returns_cancels_the_drain() -> None:
    found = step(pod("a"), pod("b", since=NOW - 10), wanted=2)
    assert (found.unmark, found.remove, found.replicas) == (("b",), (), 2)
    more = step(pod("a"), pod("b", since=NOW - 10), wanted=5)
    assert (more.unmark, more.replicas) == (("b",), 5)


def test_load_that_returns_in_part_unmarks_the_busier_one() -> None:
    since = NOW - 10
    found = step(pod("a"), pod("b", since=since, work=7), pod("c", since=since, work=1), wanted=2)
    assert (found.unmark, found.mark) == (("b",), ())


def test_pods_that_were_never_created_need_no_drain() -> None:
    found = step(pod("a"), wanted=1, current=3)
    assert (found.mark, found.remove, found.replicas) == ((), (), 1)


def test_a_pod_that_was_counted_out_is_not_counted_out_again() -> None:
    """Its deletion was not seen yet: taking it once more would take another one, which may be busy."""
    since = NOW - 10
    gone = pod("a", since=since, sentenced=True)
    found = step(gone, pod("b", since=since, work=3), pod("c", work=9), pod("d", work=9), wanted=2, current=3)
    assert (found.replicas, found.mark, found.unmark, found.remove) == (3, (), (), ())
    later = step(gone, pod("b", since=since, work=0), pod("c", work=9), pod("d", work=9), wanted=2, current=3)
    assert (later.replicas, later.remove) == (2, ("b",))
    assert step(gone, pod("b", since=since), pod("c"), wanted=2, current=2).unmark == ("b",), "never the one that goes"


def test_a_cost_without_a_removal_is_taken_off_again() -> None:
    """`/scale` failed after it was given; else a later shrink would take this pod in place of the drained one."""
    pods = pod("a"), pod("b", ready=False, sentenced=True)
    assert step(*pods, wanted=2).unmark == ("b",)
    assert step(*pods, wanted=3).unmark == ("b",)
    found = step(pod("a", sentenced=True, work=4), pod("b", since=NOW - 10, work=1), wanted=1)
    assert (found.unmark, found.replicas) == (("a",), 2)


candidates = st.lists(
    st.builds(
        Candidate,
        name=st.uuids().map(str),
        ready=st.booleans(),
        scheduled=st.booleans(),
        created=st.just("2026-11-21T10:00:00Z"),
        draining_since=st.none() | st.floats(NOW - 100, NOW),
        work=st.none() | st.integers(0, 5).map(float),
        sentenced=st.booleans(),
    ),
    max_size=8,
)


@given(pods=candidates, missing=st.integers(-3, 3), wanted=st.integers(0, 12))
def test_never_below_what_is_wanted_and_never_a_busy_pod(pods: list[Candidate], missing: int, wanted: int) -> None:
    current = max(0, len(pods) + missing)
    found = plan(pods, current=current, wanted=wanted, now=NOW, timeout_seconds=60)
    by_name = {one.name: one for one in pods}
    assert min(wanted, current) <= found.replicas <= max(wanted, current)
    assert not set(found.mark) & set(found.unmark)
    for name in found.remove:
        gone = by_name[name]
        timed_out = gone.draining_since is not None and NOW - gone.draining_since >= 60
        assert not gone.ready or timed_out or gone.work == 0
        assert not gone.ready or gone.draining_since is not None, "a ready pod is marked first"
