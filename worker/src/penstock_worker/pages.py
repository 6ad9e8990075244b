"""Pages of the KV cache: reference counts, and a prefix index over full pages.

Page 0 is never handed out; it pads block tables. A page is free when nobody references it. A free page that is indexed
keeps its content until it is allocated again, least recently freed first: the free list is the cache's LRU list, as
in vLLM's block pool. The index is exact: a page's key is the serial number of the page before it with its own
tokens, so equal keys mean equal prefixes and no hash collision can serve a stranger's context.

Invariants (`check`): free and used pages partition the pool; free pages have no reference; index and pages agree.
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
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(1, pages + 1))
        self._index: dict[Key, tuple[int, int]] = {}
        self._key_of: dict[int, Key] = {}
        self._serial = 0

    @property
    def free(self) -> int:
        """Pages that can be allocated, cached ones included."""
        return len(self._free)

    @property
    def used(self) -> int:
        """Pages that requests hold."""
        return self.pages - len(self._free)

    def pages_for(self, tokens: int) -> int:
        """Pages that hold `tokens` tokens."""
        return -(-tokens // self.page_size)

    def allocate(self, count: int) -> list[int] | None:
        """Take `count` pages, or none at all if fewer are free."""
        if count > len(self._free):
            return None
        taken = []
        for _ in range(count):
            page, _none = self._free.popitem(last=False)
            key = self._key_of.pop(page, None)
            if key is not None:
                del self._index[key]
            self._references[page] = 1
            taken.append(page)
        return taken

    def release(self, pages: Sequence[int]) -> None:
        """Drop one reference to each page of a request, given in the order of its context."""
        # The tail goes first, so that eviction shortens cached prefixes from their ends.
        for page in reversed(pages):
            self._references[page] -= 1
            if self._references[page]:
                continue
            self._free[page] = None
            if page not in self._key_of:
                self._free.move_to_end(page, last=False)

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
                del self._free[page]
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
        assert all((count == 0) == (page in self._free) for page, count in enumerate(self._references) if page)
        assert self._references[0] == 0
        assert 0 not in self._free
        assert len(self._key_of) == len(self._index)
        for key, (_serial, page) in self._index.items():
            assert self._key_of[page] == key
        if holders is not None:
            counted = [0] * len(self._references)
            for pages in holders:
                for page in pages:
                    counted[page] += 1
            assert counted == self._references
