"""What a run of the kind tests did, how long it took and what became of every request: a file, and a page of it."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from kind_load import ANSWERED, Load
from pages import ROOT

RESULT = ROOT / "out" / "kind" / "result.json"
PAGE = ROOT / "docs" / "evidence" / "kind.md"
_REFUSED = "refused"
LAST = "docs/install.md as it stands, to the first tokens"


@dataclass
class Phase:
    """One thing that was done; `failed` counts what was told and what was not."""

    name: str
    seconds: float = 0.0
    sent: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    seen: str = ""

    def count(self, *loads: Load) -> None:
        ends = Counter(answer["end"] for load in loads for answer in load.answers)
        self.sent += ends.total()
        self.answered += ends[ANSWERED]
        self.refused += ends[_REFUSED]
        self.failed += ends.total() - ends[ANSWERED] - ends[_REFUSED]


@dataclass
class Record:
    """A whole run.

    Attributes:
        origin: of node and base images.
        versions: of what took part, by name.
        steps: seconds of each step up to the cluster.
        phases: what was done on it.
        rights: of the chart that requests used.
        requests: to the API server, by ServiceAccount.
        down_seconds: to delete the cluster and leave the machine as it was.
    """

    origin: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    rights: int = 0
    requests: dict[str, int] = field(default_factory=dict)
    down_seconds: float = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        began, phase = time.monotonic(), Phase(name)
        yield phase
        phase.seconds = time.monotonic() - began
        self.phases.append(phase)

    def write(self, *, page: bool) -> None:
        """Write the file; with `page` the page of evidence too."""
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        RESULT.write_text(json.dumps(asdict(self), indent=1) + "\n")
        if page:
            PAGE.write_text(self.to_page())

    @property
    def whole(self) -> bool:
        """Whether the run went to its end."""
        return bool(self.rights and self.phases and self.phases[-1].name == LAST)

    def to_page(self) -> str:
        sent = sum(phase.sent for phase in self.phases)
        lost = sum(phase.refused + phase.failed for phase in self.phases)
        took = sum(self.steps.values()) + sum(phase.seconds for phase in self.phases) + self.down_seconds
        heard = " and ".join(f"{count:,} of `{name}`'s" for name, count in sorted(self.requests.items()))
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return _PAGE.format(
            cores=os.cpu_count(),
            origin=self.origin,
            versions=versions,
            sent=sent,
            lost=lost,
            took=took / 60,
            rights=self.rights,
            heard=heard,
            steps=_table([("step", "seconds"), *((name, f"{s:.0f}") for name, s in self.steps.items())]),
            phases=_table([_HEAD, *(_row(phase) for phase in self.phases)]),
            down=self.down_seconds,
        )


_HEAD = ("phase", "seconds", "sent", "answered", "refused", "failed", "what was seen")


def _row(phase: Phase) -> tuple[str, ...]:
    counts: list[Any] = [phase.sent, phase.answered, phase.refused, phase.failed] if phase.sent else [""] * 4
    return (phase.name, f"{phase.seconds:.0f}", *(str(one) for one in counts), phase.seen)


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = rows
    marks = ["---" if name in ("step", "phase", "what was seen") else "--:" for name in head]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *body))


_PAGE = """\
# On a real cluster: kind

Written by `make test-kind`; the raw figures are in `out/kind/result.json`. Real kubelets, containerd, kube-proxy and
DNS on two nodes, images built by the project's Dockerfile, the chart installed by helm, a plain Prometheus and one that
the Prometheus Operator runs, and every namespace that Penstock is in enforces `restricted` pod security.

{versions}. {origin}.

Workers run the real engine on an **emulated device** (`examples/models/demo-profile.json`), so times show behaviour,
not speed; the GPUs are a number that is patched on the nodes' status, and the scheduler counts them. Load is open-loop
and streamed, from a pod to the gateways' Service, by a client that **never tries again**. {cores} shared cores carry
all of it, both nodes included.

**{sent:,} requests sent, {lost} of them not answered in full.** The whole run took {took:.0f} minutes.

{phases}

*refused*: 429 or 503 with an OpenAI error body and `Retry-After`. *failed*: anything else that is not every token and
`[DONE]`.

## Rights

From the upgrade to the uninstallation, the API server's audit log has {heard} requests.
Reduced to verbs per resource it equals the chart's {rights} rights, but for `inferenceservices/finalizers`, which an
admission plugin asks for and no request shows. No request was refused.

## How long it took to get there

{steps}

Binaries, root file systems and images are kept between runs; taking the cluster down and leaving the machine as it was
took {down:.0f} s.
"""
