"""Markdown pages as tests see them: blocks of code with their markers, links, headings, commands in running text."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
SHELL = ("sh", "console")
# A program of ours, or one that we ask people to use, with what is set before it; `kubectl` alone is only a name.
_COMMAND = re.compile(
    r"(?:nice -n \S+ )?(?:[A-Z_]+=(?:'[^']*'|\S+) )*"
    r"(?:(?:make|penstock|kubectl|helm|curl|\.venv/bin/\S+) .+|\.ci/run)",
    re.DOTALL,
)
_MARKER = re.compile(r"<!--\s*(?P<word>[a-z ]+?)(?::\s*(?P<text>.*?))?\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: path from the repository's root.
        line: where it begins, counted from 1.
        language: after the fence; empty without one and for an indented block.
        text: what stands in it.
        marker: word and text of the comment right before it; empty strings without one.
    """

    page: str
    line: int
    language: str
    text: str
    marker: tuple[str, str] = ("", "")

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        return self.text.strip().splitlines()[0].removeprefix("$ ")


class Page:
    """One page."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path.relative_to(ROOT))
        self._tokens = MarkdownIt("commonmark").enable("table").parse(path.read_text())

    @property
    def blocks(self) -> list[Block]:
        """All blocks of code, in order."""
        found = []
        for before, token in zip([None, *self._tokens], self._tokens, strict=False):
            if token.type in ("fence", "code_block"):
                assert token.map is not None
                language = token.info.strip() if token.type == "fence" else ""
                found.append(Block(self.name, token.map[0] + 1, language, token.content, _marker(before)))
        return found

    @property
    def commands(self) -> list[Block]:
        """The blocks that hold commands."""
        return [block for block in self.blocks if block.language in SHELL]

    @property
    def setting(self) -> str:
        """What the comment `<!-- commands: … -->` says its commands need; `from a checkout` without one."""
        found = [_marker(token) for token in self._tokens if token.type == "html_block"]
        return next((text for word, text in found if word == "commands"), "from a checkout")

    @property
    def links(self) -> list[str]:
        """Targets of links and images."""
        found = [child.attrGet("href") or child.attrGet("src") for child in self._inline("link_open", "image")]
        return [str(target) for target in found if target]

    @property
    def anchors(self) -> set[str]:
        """What `#…` may name on this page, made as GitHub does."""
        found: dict[str, int] = {}
        anchors = set()
        for before, token in zip(self._tokens, self._tokens[1:], strict=False):
            if before.type == "heading_open":
                text = "".join(child.content for child in token.children or ())
                slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
                anchors.add(f"{slug}-{found[slug]}" if slug in found else slug)
                found[slug] = found.get(slug, 0) + 1
        return anchors

    @property
    def inline_code(self) -> list[str]:
        """Code in running text."""
        return [child.content for child in self._inline("code_inline")]

    @property
    def mentions(self) -> list[str]:
        """Commands in running text and in indented blocks."""
        indented = [line for block in self.blocks if not block.language for line in block.text.splitlines()]
        return [" ".join(code.split()) for code in (*self.inline_code, *indented) if _COMMAND.fullmatch(code)]

    @property
    def tables(self) -> list[list[list[Token]]]:
        """Rows of cells of every table, heads included."""
        tables: list[list[list[Token]]] = []
        for token in self._tokens:
            if token.type == "table_open":
                tables.append([])
            elif token.type == "tr_open":
                tables[-1].append([])
            elif token.type == "inline" and tables and token.level >= 4:
                tables[-1][-1].append(token)
        return tables

    def _inline(self, *types: str) -> list[Token]:
        return [child for token in self._tokens for child in token.children or () if child.type in types]


def pages(*patterns: str) -> list[Page]:
    """The pages that match, by name."""
    return [_page(path) for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern)})]


@functools.cache
def _page(path: Path) -> Page:
    return Page(path)  # parsing all of them takes a second, and many tests ask for them


def _marker(token: Token | None) -> tuple[str, str]:
    found = _MARKER.fullmatch(token.content.strip()) if token is not None and token.type == "html_block" else None
    return (found["word"], " ".join((found["text"] or "").split())) if found else ("", "")
