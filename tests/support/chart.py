"""The chart as the tests see it."""

import functools
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

Manifest = dict[str, Any]
Helm = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Rendered:
    """What `helm template` printed."""

    text: str

    @functools.cached_property
    def manifests(self) -> list[Manifest]:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the CRD takes the other one a second
        return [document for document in yaml.load_all(self.text, loader) if document]

    def kind(self, kind: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def one(self, kind: str, name: str) -> Manifest:
        (found,) = [manifest for manifest in self.kind(kind) if manifest["metadata"]["name"] == name]
        return found
