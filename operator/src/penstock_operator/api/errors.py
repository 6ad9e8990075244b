"""Errors of reading the resource. Each one maps to exactly one reason of the condition `Accepted`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from penstock_operator.api.conditions import AcceptedReason

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a manifest.

    Attributes:
        path: the field in the spelling of the resource, such as `spec.scaling.minReplicas`.
        message: what is wrong and what to do about it.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidSpec(ValueError):  # noqa: N818 - named after the condition reason it becomes
    """The resource cannot be carried out as written.

    The API server refuses such manifests, so this is seen for resources stored under older rules and for
    files that never went through a server.

    Attributes:
        problems: everything that was found, never empty.
    """

    reason: ClassVar[AcceptedReason] = AcceptedReason.INVALID_SPEC

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


class InexpressibleSchema(TypeError):  # noqa: N818 - reads as what it reports
    """A model says something that a structural schema of Kubernetes cannot say."""
