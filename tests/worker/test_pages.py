"""The page pool against a model of itself: nothing lost, cached content only where it fits."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from penstock_worker.pages import PagePool

PAGES, SIZE = 9, 2


class Pool(RuleBasedStateMachine):
    """Holders take matched and fresh pages for a context, fill them, and let go in any order."""

    holders = Bundle("holders")

    def __init__(self):
        super().__init__()
        self.pool = PagePool(pages=PAGES, page_size=SIZE)
        self.held: list[list[int]] = []
        self.content: dict[int, tuple[int, ...]] = {}  # the prefix up to and including each full page

    @rule(target=holders, context=st.lists(st.integers(0, 1), min_size=1, max_size=10))
    def take(self, context):
        matched, chain = self.pool.match(context, limit=len(context) - 1)
        for number, page in enumerate(matched):
            assert self.content[page] == tuple(context[: (number + 1) * SIZE])
        need = self.pool.pages_for(len(context)) - len(matched)
        free = self.pool.free
        fresh = self.pool.allocate(need)
        assert (fresh is None) == (need > free)
        if fresh is None:
            self.pool.release(matched)
            return []
        pages = matched + fresh
        for number in range(len(matched), len(context) // SIZE):
            parent = chain[-1] if chain else 0
            self.content[pages[number]] = tuple(context[: (number + 1) * SIZE])
            chain.append(self.pool.register(pages[number], parent=parent, tokens=context[number * SIZE :][:SIZE]))
        self.held.append(pages)
        return pages

    @rule(pages=consumes(holders))
    def let_go(self, pages):
        if pages:
            self.held.remove(pages)
            self.pool.release(pages)

    @invariant()
    def consistent(self):
        self.pool.check(self.held)
        assert self.pool.used == len({page for pages in self.held for page in pages})
        assert self.pool.used + self.pool.free == PAGES


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_matches_what_was_freed_until_it_is_allocated_again():
    pool = PagePool(pages=4, page_size=SIZE)
    pages = pool.allocate(3)
    first = pool.register(pages[0], parent=0, tokens=(1, 2))
    pool.register(pages[1], parent=first, tokens=(3, 4))
    pool.release(pages)
    assert pool.used == 0
    hit, _chain = pool.match([1, 2, 3, 4, 5], limit=4)
    assert hit == pages[:2]
    pool.release(hit)
    empty = pool.allocate(2)
    assert not set(empty) & set(pages[:2])
    pool.release(empty)
    assert pool.allocate(2) == empty  # pages without content go first, however late they were freed
    assert pool.match([1, 2, 3, 4, 5], limit=4)[0] == pages[:2]
    pool.release(pages[:2])
    pool.allocate(1)  # the end of the prefix goes before its start
    assert pool.match([1, 2, 3, 4, 5], limit=4)[0] == pages[:1]


def test_without_caching_nothing_matches():
    pool = PagePool(pages=4, page_size=SIZE, caching=False)
    pages = pool.allocate(1)
    pool.register(pages[0], parent=0, tokens=(1, 2))
    pool.release(pages)
    assert pool.match([1, 2, 3], limit=2) == ([], [])


def test_allocation_is_all_or_nothing():
    pool = PagePool(pages=4, page_size=SIZE)
    assert pool.allocate(5) is None
    assert pool.free == 4
