"""Pages of the KV cache: reference counts, and a prefix index over full pages.

Page 0 is never handed out; it pads block tables. A page is free when nobody references it. A free page that is indexed
keeps its content until no other page is left, least recently freed first: free cached pages are the cache's LRU list,
as in vLLM's block pool. The index is exact: a page's key is the serial number of the page before it with its own
tokens, so equal keys mean equal prefixes and no hash collision can serve a stranger's context.

Invariants (`check`): free, cached and used pages partition the pool; free and cached pages have no reference; index
and pages agree.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

Key = tuple[int, tuple[int, ...]]


class PagePool:
    """Allocator of `pages` pages of `page_size` tokens each.

    Args:
        pages: pages to hand out, numbered from 1.
        page_size: tokens per page.
        caching: keep an index of full pages for prefix reuse.
    """

    def __init__(self, *, pages: int, page_size: int, caching: bool = True) -> None:
        self.pages = pages
        self.page_size = page_size
        self._caching = caching
        self._references = [0] * (pages + 1)
        self._untouched = 1  # from here on, pages were never allocated: their memory is not mapped yet
        self._empty: list[int] = []
        self._cached: OrderedDict[int, None] = OrderedDict()
        self._index: dict[Key, tuple[int, int]] = {}
        self._key_of: dict[int, Key] = {}
        self._serial = 0

    @property
    def free(self) -> int:
        """Pages that can be allocated, cached ones included."""
        return self.pages + 1 - self._untouched + len(self._empty) + len(self._cached)

    @property
    def used(self) -> int:
        """Pages that requests hold."""
        return self.pages - self.free

    def pages_for(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_size)

    def allocate(self, count: int) -> list[int] | None:
        """Take `count` pages, or none at all if fewer are free."""
        if count > self.free:
            return None
        taken = [self._take() for _ in range(count)]
        for page in taken:
            self._references[page] = 1
        return taken

    def release(self, pages: Sequence[int]) -> None:
        """Drop one reference to each page of a request, given in the order of its context."""
        # The tail goes first, so that eviction shortens cached prefixes from their ends.
        for page in reversed(pages):
            self._references[page] -= 1
            if self._references[page]:
                continue
            if page in self._key_of:
                self._cached[page] = None
            else:
                self._empty.append(page)

    def match(self, tokens: Sequence[int], *, limit: int) -> tuple[list[int], list[int]]:
        """Reference the cached pages of the longest prefix.

        Args:
            tokens: the whole context.
            limit: most tokens to take from the cache.

        Returns:
            The pages, now referenced, and their serial numbers (the chain for `register`).
        """
        pages: list[int] = []
        chain: list[int] = []
        parent, size = 0, self.page_size
        for end in range(size, limit + 1, size):
            hit = self._index.get((parent, tuple(tokens[end - size : end])))
            if hit is None:
                break
            parent, page = hit
            pages.append(page)
            chain.append(parent)
        for page in pages:
            if not self._references[page]:
                del self._cached[page]
            self._references[page] += 1
        return pages, chain

    def register(self, page: int, *, parent: int, tokens: Iterable[int]) -> int:
        """Index a full, computed page.

        Args:
            page: the page, referenced by the caller.
            parent: serial number of the page before it, 0 for the first.
            tokens: its `page_size` tokens.

        Returns:
            The serial number of the indexed page with this content; it may be another request's page.
        """
        if not self._caching:
            return 0
        key = (parent, tuple(tokens))
        hit = self._index.get(key)
        if hit is not None:
            return hit[0]
        self._serial += 1
        self._index[key] = (self._serial, page)
        self._key_of[page] = key
        return self._serial

    def check(self, holders: Iterable[Sequence[int]] | None = None) -> None:
        """Assert the invariants; with `holders`, also that references are exactly what they hold.

        Raises:
            AssertionError: an invariant is broken.
        """
        free = [*self._empty, *self._cached, *range(self._untouched, self.pages + 1)]
        assert sorted(free) == [page for page, count in enumerate(self._references) if page and not count]
        assert self._references[0] == 0
        assert all((page in self._key_of) == (page in self._cached) for page in free)
        assert len(self._key_of) == len(self._index)
        for key, (_serial, page) in self._index.items():
            assert self._key_of[page] == key
        if holders is not None:
            counted = [0] * len(self._references)
            for pages in holders:
                for page in pages:
                    counted[page] += 1
            assert counted == self._references

    def _take(self) -> int:
        """A free page: one without content if there is one, else the one cached longest ago."""
        if self._empty:
            return self._empty.pop()
        if self._untouched <= self.pages:
            self._untouched += 1
            return self._untouched - 1
        page, _none = self._cached.popitem(last=False)
        del self._index[self._key_of.pop(page)]
        return page
