"""The CustomResourceDefinition, made from the models.

`python -m penstock_operator.api.crd` writes it, with `--check` it only compares. The output depends on nothing but
the models, so that a difference in the committed file is a difference in the API.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from penstock_contract import names
from penstock_operator.api.base import VALIDATIONS
from penstock_operator.api.inferenceservice import InferenceService
from penstock_operator.api.schema import structural
from penstock_operator.api.spec import InferenceServiceSpec
from penstock_operator.api.status import InferenceServiceStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE_NAME: Final = f"{names.GROUP}_{names.PLURAL}.yaml"
_HEADER: Final = "# Made from penstock_operator.api by `make generate`; edits to this file are lost.\n"


def _said(kind: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{field}'


# Narrow: is it up, how many of how many, does it keep its promise, why not. Wide: what runs, how it scales, what it
# takes. A column cannot have a default, but of a union the first value that there is is shown. `spec.model.name` is
# mostly not set, so the model is told by its source, which always is.
_MODEL: Final = ".spec.model.source['huggingFace.repo','pvc.path','pvc.claimName','image.reference','containerPath']"
_COLUMNS: Final = (
    ("Ready", "string", _said("Ready", "status"), "Whether requests are served as declared", 0),
    ("Replicas", "integer", ".status.readyReplicas", "Replicas that take requests", 0),
    ("Desired", "integer", ".status.desiredReplicas", "Replicas that were last decided", 0),
    ("Min", "integer", ".spec['scaling.minReplicas','replicas']", "Fewest replicas", 0),
    ("Max", "integer", ".spec['scaling.maxReplicas','replicas']", "Most replicas", 0),
    ("SLA", "string", _said("SLAMet", "status"), "Whether the objectives are met over their window", 0),
    ("Reason", "string", _said("Ready", "reason"), "Why it is ready or not", 0),
    ("Age", "date", ".metadata.creationTimestamp", "Since when it exists", 0),
    ("Model", "string", _MODEL, "Where the model comes from", 1),
    ("Engine", "string", ".spec.runtime.engine", "Engine that serves the model", 1),
    ("Scaling", "string", _said("ScalingActive", "reason"), "Whether the count follows the load, or why not", 1),
    ("Limited", "string", _said("ScalingLimited", "reason"), "What keeps the count from what the load asks for", 1),
    ("Accelerator", "string", ".spec.runtime.accelerator.resourceName", "Accelerators of a replica", 1),
    ("Each", "integer", ".spec.runtime.accelerator.count", "How many of them", 1),
    ("Price", "string", ".spec.cost.perAcceleratorHour", "Cost of one of them for an hour", 1),
    ("Message", "string", _said("Ready", "message"), "Why it is ready or not, as a sentence", 1),
)


def document() -> dict[str, Any]:
    """Return the CustomResourceDefinition as an object of the API."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names.PLURAL}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                # With spec.scaling there is no spec.replicas, and GET /scale fails: an HPA or `kubectl scale`
                # works on a fixed number only.
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "description": text, "priority": priority}
            for name, kind, path, text, priority in _COLUMNS
        ],
        "schema": {"openAPIV3Schema": _root()},
    }


def _root() -> dict[str, Any]:
    spec, status = structural(InferenceServiceSpec), _without_defaults(structural(InferenceServiceStatus))
    return {
        "description": InferenceService.__doc__,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": "Version of the schema of this object.", "type": "string"},
            "kind": {"description": "The resource that this object is.", "type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
        VALIDATIONS: [rule.manifest() for rule in InferenceService.rules],
    }


def _without_defaults(node: Any) -> Any:
    """Drop every default: in a status it would be a value that nobody observed and no field manager owns."""
    if isinstance(node, list):
        return [_without_defaults(child) for child in node]
    if isinstance(node, dict):
        return {key: _without_defaults(child) for key, child in node.items() if key != "default"}
    return node


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: a structural schema is written out."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is the library's
        return True


def render() -> str:
    """Return the CustomResourceDefinition as the text of its file."""
    return _HEADER + yaml.dump(document(), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file, or compare it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m penstock_operator.api.crd", description=document.__doc__)
    parser.add_argument("--out", type=Path, default=Path("crds"), help="directory of the file")
    parser.add_argument("--check", action="store_true", help="only compare; 1 when the file is out of date")
    options = parser.parse_args(arguments)
    path: Path = options.out / FILE_NAME
    wanted = render()
    if not options.check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted, encoding="utf-8")
        return 0
    found = path.read_text(encoding="utf-8") if path.exists() else ""
    if found == wanted:
        return 0
    lines = difflib.unified_diff(found.splitlines(), wanted.splitlines(), str(path), "the models", lineterm="")
    sys.stderr.write("\n".join(lines) + f"\n{path} is out of date: run `make generate`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
