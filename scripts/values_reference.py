# ruff: noqa: INP001 - a script, no module of a package
"""Write `docs/reference/values.md` from the chart's `values.yaml` and `values.schema.json`; `--check` only compares.

Texts are the comments `# --` of values.yaml, types and bounds those of the schema that helm enforces. A value without
a comment, or one that the schema does not know, is an error: neither may be missing from the page.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
CHART: Final = ROOT / "charts" / "penstock"
PAGE: Final = ROOT / "docs" / "reference" / "values.md"
_HEAD: Final = """\
# Values of the chart

<!-- Made from charts/penstock by `make generate`; edits to this file are lost. -->

Helm refuses a value of another type, out of bounds, or with a name that is not here, and names it.

| Value | Type | Default | Meaning |
|---|---|---|---|
"""
_PATTERNS: Final = {
    "name": "name of an object",
    "prefix": "string",
    "key": "string",
    "strings": "map to string",
    "resources": "requests and limits",
    "affinity": "affinity of a pod",
    "tolerations": "list of tolerations",
    "peers": "list of NetworkPolicy peers",
    "namespaces": "list of namespaces",
}


def render() -> str:
    """The page as Markdown.

    Raises:
        KeyError: a value is not in the schema.
    """
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    rows = []
    for path, text in described((CHART / "values.yaml").read_text(encoding="utf-8").splitlines()):
        default, node = values, schema
        for name in path.split("."):
            default, node = default[name], _resolved(node, schema)["properties"][name]
        shown = f"`{json.dumps(default)}`" if default not in ("", [], {}) else ""
        rows.append(f"| `{path}` | {_type(node, schema)} | {shown} | {text.replace('|', chr(92) + '|')} |\n")
    return _HEAD + "".join(rows)


def described(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Path and text of every value, in the order of the file."""
    above: list[str] = []
    text = ""
    for line in lines:
        if comment := re.fullmatch(r" *# -- (.+)", line):
            text = comment[1]
        elif found := re.match(r"( *)([A-Za-z]+):", line):
            above = [*above[: len(found[1]) // 2], found[2]]
            if text:
                yield ".".join(above), text
            text = ""


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    return schema["$defs"][reference.rpartition("/")[2]] if reference else node


def _type(node: dict[str, Any], schema: dict[str, Any]) -> str:
    if known := _PATTERNS.get(node.get("$ref", "").rpartition("/")[2]):
        return known
    node = _resolved(node, schema)
    if "enum" in node:
        return " \\| ".join(f"`{word}`" for word in node["enum"])
    if node["type"] == "array":
        return "list"
    if node["type"] == "object":
        return "map to string"
    bounds = []
    if "exclusiveMinimum" in node:
        bounds.append(f"above {node['exclusiveMinimum']}")
    if "minimum" in node:
        bounds.append(f"at least {node['minimum']}")
    if "maximum" in node:
        bounds.append(f"at most {node['maximum']}")
    return ", ".join([node["type"], *bounds])


def main(arguments: Sequence[str]) -> int:
    """Write or compare; return the exit status."""
    page = render()
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page:
        return 0
    sys.stderr.write(f"{PAGE.relative_to(ROOT)} does not agree with charts/penstock: run `make generate`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
