# ruff: noqa: INP001 - a script, no module of a package
"""The part of `requirements/dev.txt` that an image needs: `locked.py EXTRA… [--without NAME…]` prints it, with hashes.

The lock says of every package what asked for it, so the needs of one extra of pyproject.toml are found without asking
any index. An extra of a package counts as the whole package: rather one too many than one too few. Standard library
only, since it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of the lock: its lines, and the packages that asked for it."""

    lines: tuple[str, ...]
    parents: frozenset[str]


def parse(text: str) -> dict[str, Locked]:
    """The packages of a lock, by normalized name."""
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if line and line[0].isalnum():
            blocks.append([line])
        elif blocks and line.strip():
            blocks[-1].append(line)
    return {_normalized(_head(block[0])): _locked(block) for block in blocks}


def _locked(block: Sequence[str]) -> Locked:
    comments = [line.strip().removeprefix("#").strip() for line in block if line.lstrip().startswith("#")]
    parents = {_normalized(found[0]) for text in comments if (found := _NAME.match(text.removeprefix("via").strip()))}
    return Locked(tuple(line for line in block if not line.lstrip().startswith("#")), frozenset(parents))


def _head(text: str) -> str:
    found = _NAME.match(text)
    if found is None:
        raise ValueError(f"no name of a package at the beginning of {text!r}")
    return found[0]


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def roots(extras: Iterable[str]) -> set[str]:
    """What the project and some of its extras ask for by name; `build` is what builds its wheel.

    Raises:
        KeyError: there is no such extra.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = list(project["project"]["dependencies"])
    for extra in extras:
        if extra == "build":
            asked = list(project["build-system"]["requires"])
        else:
            asked += project["project"]["optional-dependencies"][extra]
    return {_normalized(_head(one)) for one in asked}


def closure(lock: Mapping[str, Locked], wanted: Iterable[str], *, without: Iterable[str] = ()) -> list[str]:
    """Names of what is wanted and of all that it needs, in the order of the lock.

    Args:
        lock: packages by name.
        wanted: names.
        without: names to leave out, with what only they need.

    Raises:
        KeyError: something wanted is not in the lock.
    """
    due, found = [name for name in wanted if name not in without], set[str]()
    while due:
        name = due.pop()
        if name not in lock:
            raise KeyError(f"{name} is not in the lock: run scripts/lock")
        if name not in found:
            found.add(name)
            due += [child for child, one in lock.items() if name in one.parents and child not in without]
    return [name for name in lock if name in found]


def main(arguments: Sequence[str]) -> int:
    """Print the part; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="+", help="operator, gateway, worker, or build")
    parser.add_argument("--without", nargs="*", default=[], help="packages that the image has from elsewhere")
    options = parser.parse_args(arguments)
    lock = parse((ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8"))
    for name in closure(lock, roots(options.extras), without=options.without):
        sys.stdout.write("\n".join(lock[name].lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
