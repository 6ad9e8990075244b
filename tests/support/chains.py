"""Which files of tests one process runs, one after the other: those of a chain, which share what is dear to have.

A cluster takes ten seconds of a core to start and a tenth of a core for as long as it is there, and torch with
transformers takes six to import, so few processes have them, however many there are; all other files go to whoever is
free.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

# Beginnings of paths from tests/. The first two use the session's cluster and take about as long as each other, mostly
# waiting; the third has one of its own; the last needs none, but torch.
CHAINS = (
    ("e2e/", "docs/test_pages.py", "chart/test_monitors.py"),
    (
        "examples/",
        "lab/cluster/",
        "gateway/",
        "contract/test_gateway_conformance.py",
        "operator/api/",
        "operator/runtime/test_reconciler.py",
    ),
    ("lab/nodeagent/",),
    ("worker/", "lab/test_model.py"),
)


def chain_of(path: str) -> str | None:
    """The chain of a file, given from tests/; None where the file belongs to none."""
    found = (number for number, beginnings in enumerate(CHAINS, start=1) if path.startswith(beginnings))
    return next((f"chain {number}" for number in found), None)


class Chains(LoadFileScheduling):
    """Gives out whole files, the files of a chain to one process."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        return chain_of(path.removeprefix("tests/")) or path
