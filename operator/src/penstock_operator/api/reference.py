"""The reference page of the resource, made from the CRD and from the conditions.

`python -m penstock_operator.api.reference` writes it, with `--check` it only compares. Nothing is said here that the
API server does not know: fields, bounds, defaults and rules are read from the schema that it enforces.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from penstock_operator.api.base import VALIDATIONS
from penstock_operator.api.conditions import REASONS
from penstock_operator.api.crd import document
from penstock_operator.api.schema import INT_OR_STRING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FILE_NAME: Final = "inferenceservice.md"
_HEAD: Final = """\
# InferenceService

<!-- Made from penstock_operator.api by `make generate`; edits to this file are lost. -->

`inference.penstock.dev/v1alpha1`, short name `infsvc`. The same texts are in `kubectl explain infsvc`.

`kubectl scale` and the HPA work on a service with `spec.replicas`. With `spec.scaling` there is no such number to
set: reading the scale subresource then fails with "the spec replicas field does not exist" (HTTP 500).
"""
_FIELDS_HEAD: Final = "| Field | Type | Default | Meaning |\n|---|---|---|---|\n"


def render() -> str:
    """Return the page as Markdown."""
    root = document()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fields = root["properties"]
    return (
        f"{_HEAD}\n## Spec\n\n{_FIELDS_HEAD}{_table('spec', fields['spec'])}"
        f"\n## Rules\n\nWhat the API server refuses, beside wrong types and bounds.\n\n{_rules(root)}"
        f"\n## Status\n\n{_FIELDS_HEAD}{_table('status', fields['status'])}"
        f"\n## Conditions\n{_conditions()}"
    )


def _table(path: str, node: dict[str, Any]) -> str:
    return "".join(
        f"| `{where}` | {_type(child)} | {_default(child, required=required)} | {_escaped(child['description'])} |\n"
        for where, child, required in _fields(path, node)
    )


def _fields(path: str, node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every field below a node, in the order of the models, with whether it is required."""
    for name, child in node.get("properties", {}).items():
        where = f"{path}.{name}"
        yield where, child, name in node.get("required", ())
        yield from _fields(where, child)
        yield from _fields(f"{where}[]", child.get("items", {}))


def _type(node: dict[str, Any]) -> str:
    if node.get(INT_OR_STRING):
        return "integer or string"
    if "enum" in node:
        return " \\| ".join(node["enum"])
    if "items" in node:
        return f"list of {_type(node['items'])}, at most {node['maxItems']}"
    if "additionalProperties" in node:
        return f"map to {_type(node['additionalProperties'])}, at most {node['maxProperties']}"
    if "minimum" in node:
        bounds = f"{node['minimum']} to {node['maximum']}" if "maximum" in node else f"at least {node['minimum']}"
        return f"{node['type']}, {bounds}"
    return str(node.get("format", node["type"]))


def _default(node: dict[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    if "default" not in node or "properties" in node:
        return ""
    return f"`{node['default'] if isinstance(node['default'], str) else json.dumps(node['default'])}`"


def _rules(root: dict[str, Any]) -> str:
    lines: dict[str, None] = {}
    for path, node in _nodes("", root):
        for rule in node.get(VALIDATIONS, ()):
            where = f"`{path}{rule.get('fieldPath', '')}`: " if path else ""
            lines[f"- {where}{_escaped(rule['message'])}\n"] = None
    return "".join(lines)


def _nodes(path: str, node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from _nodes(f"{path}.{name}" if path else name, child)
    for keyword, mark in (("items", "[]"), ("additionalProperties", "[*]")):
        if keyword in node:
            yield from _nodes(path + mark, node[keyword])


def _conditions() -> str:
    parts = []
    for condition, reasons in REASONS.items():
        parts.append(f"\n### {condition}\n\n{condition.meaning}\n\n| Reason | Meaning |\n|---|---|\n")
        parts.extend(f"| `{reason}` | {_escaped(reason.meaning)} |\n" for reason in reasons)
    return "".join(parts)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, or compare it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m penstock_operator.api.reference", description=render.__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/reference"), help="directory of the page")
    parser.add_argument("--check", action="store_true", help="only compare; 1 when the page is out of date")
    options = parser.parse_args(arguments)
    path: Path = options.out / FILE_NAME
    if not options.check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(), encoding="utf-8")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == render():
        return 0
    sys.stderr.write(f"{path} is out of date: run `make generate`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
