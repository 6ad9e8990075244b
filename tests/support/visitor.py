"""Somebody who follows a page: a shell that keeps its variables from block to block, and a judge of what it prints."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pages import Block

BLOCK_SECONDS = 180.0
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
# What kubectl's libraries log to stderr, such as the end of a watch; whether it comes is a matter of timing.
_KLOG = re.compile(r"^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ \S+\.go:\d+\] .*\n?", re.MULTILINE)


class Shell:
    """One bash, as a context manager; a command that fails ends it, as `set -e` would."""

    def __init__(self, folder: Path, *, scratch: Path, env: Mapping[str, str]) -> None:
        self._scratch = scratch
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-s"],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._tell("set -euo pipefail")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def run(self, script: str) -> str:
        """Run commands that stand in no block and return what they printed."""
        return self._run(script, script)

    def follow(self, block: Block) -> str:
        """Run a block and return what it printed; output that the page shows must be what was printed."""
        if block.language == "sh":
            return self._run(block.text, block.place)
        printed = ""
        for command, expected in transcript(block.text):
            found = self._run(command, block.place)
            assert not expected or matches(expected, found, numbers=block.marker[0] != "numbers vary"), (
                f"{block.place}: `{command}` printed\n{found}\nand not, as the page says,\n{expected}"
            )
            printed += found
        return printed

    def _run(self, script: str, place: str) -> str:
        file, out = self._scratch / "block.sh", self._scratch / "out"
        file.write_text(script if script.endswith("\n") else f"{script}\n")
        out.write_text("")
        watchdog = threading.Timer(BLOCK_SECONDS, os.killpg, (self._process.pid, signal.SIGKILL))
        watchdog.start()
        self._tell(f"source {file} </dev/null >{out} 2>&1; echo ok")
        assert self._process.stdout is not None
        went_well = self._process.stdout.readline() == "ok\n"
        watchdog.cancel()
        printed = out.read_text()
        if not went_well:
            code = self._process.wait(60)
            raise AssertionError(f"{place}: exit code {code}\n{script}\n--- printed:\n{printed[-4000:]}")
        return printed

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


def commands(block: Block) -> list[str]:
    """The commands of a block, one a line, without their comments and output."""
    script = block.text if block.language == "sh" else "\n".join(command for command, _ in transcript(block.text))
    lines = script.replace("\\\n", " ").splitlines()
    return [" ".join(line.split(" #")[0].split()) for line in lines if line.strip() and not line.startswith("#")]


def transcript(text: str) -> list[tuple[str, str]]:
    """Commands (after `$ `, going on after `> `) of a console block, each with the output that is shown for it."""
    steps: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            steps.append(([line[2:]], []))
        elif line.startswith("> ") and steps and not steps[-1][1]:
            steps[-1][0].append(line[2:])
        else:
            assert steps, f"a console block begins with `$ `: {line}"
            steps[-1][1].append(line)
    return [("\n".join(command), "\n".join(output).strip()) for command, output in steps]


def matches(expected: str, printed: str, *, numbers: bool = True) -> bool:
    """True when output is as expected but for white space, and for numbers unless they count.

    `…` stands for anything inside a word, for any number of words (none included) where it stands alone, and for any
    number of lines where it is all of a line. Lines that kubectl logs in klog's form are nobody's output.
    """
    pattern = "".join(r"(?:.*\n)*?" if line == ["…"] else f"{_line(line)}\n" for line in _lines(expected))
    if not numbers:
        pattern = _NUMBER.sub(lambda _: _NUMBER.pattern, pattern)
    return re.fullmatch(pattern, "".join(f" {' '.join(line)}\n" for line in _lines(_KLOG.sub("", printed)))) is not None


def _line(words: list[str]) -> str:
    inside = (r"\S*?".join(re.escape(part) for part in word.split("…")) for word in words)
    return "".join(r"(?: \S+)*?" if word == "…" else f" {text}" for word, text in zip(words, inside, strict=True))


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]
