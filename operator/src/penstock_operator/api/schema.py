"""From a pydantic model to a structural schema, or an error: nothing is dropped in silence.

The API server takes a subset of JSON Schema ("structural", see
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/) and answers what
is outside of it in several ways: it refuses the whole CRD, or ignores the keyword. Here everything outside raises
at generation. House rules raise as well: every property is described, every list, map and string is bounded (CEL
is charged by the longest value admitted), and no number is a float.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import GenerateJsonSchema

from penstock_operator.api.base import VALIDATIONS
from penstock_operator.api.errors import InexpressibleSchema

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

Node = dict[str, Any]

INT_OR_STRING: Final = "x-kubernetes-int-or-string"
PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
LIST_TYPE: Final = "x-kubernetes-list-type"

# In the order of the output. What is not here raises.
KEYWORDS: Final = (
    "description", "type", INT_OR_STRING, "format", "enum", "default",
    "minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf",
    "minLength", "maxLength", "pattern",
    "minItems", "maxItems", LIST_TYPE, "x-kubernetes-list-map-keys", "items",
    "minProperties", "maxProperties", "x-kubernetes-map-type", PRESERVE,
    "required", "properties", "additionalProperties", VALIDATIONS,
)  # fmt: skip
# Others are accepted too, but mean less than they seem: the server takes several spellings of a duration.
FORMATS: Final = ("date-time",)
# Defaults that say nothing, and would only fill the screen of who looks at an object.
_NOTHING: Final[tuple[object, ...]] = (None, "", [], {})
_REFS: Final = "#/$defs/"


class StructuralSchema(GenerateJsonSchema):
    """pydantic's generator, ending in a structural schema."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Give the inner schema: to the API server null is a value that was not given."""
        return self.generate_inner(schema["schema"])

    def generate(self, schema: core_schema.CoreSchema, mode: str = "validation") -> JsonSchemaValue:
        """Generate the schema of a model.

        Raises:
            InexpressibleSchema: the model says what a structural schema, or a house rule, does not allow.
        """
        if mode != "validation":
            raise InexpressibleSchema(f"a CRD describes what is read, not {mode!r}")
        document = super().generate(schema)
        return _Structural(document.pop("$defs", {})).convert(document, "")


def structural(model: type[BaseModel]) -> Node:
    """Return the structural schema of a model.

    Raises:
        InexpressibleSchema: the model says what a structural schema, or a house rule, does not allow.
    """
    return model.model_json_schema(by_alias=True, schema_generator=StructuralSchema)


class _Structural:
    """One walk over one document.

    Args:
        definitions: what references point to.
    """

    def __init__(self, definitions: dict[str, Node]) -> None:
        self._definitions = definitions
        self._open: list[str] = []

    def convert(self, node: Node, path: str) -> Node:
        """Return the structural form of a node at a path."""
        if "$ref" in node:
            return self._inline(node, path)
        node = _respell(node, path)
        for keyword, value in node.items():
            if keyword not in KEYWORDS:
                raise InexpressibleSchema(f"{path or '.'}: {keyword}: {value!r} has no structural form")
        if "properties" in node:
            node["properties"] = {
                name: self._property(child, f"{path}.{name}") for name, child in node["properties"].items()
            }
        if "items" in node:
            node["items"] = self.convert(node["items"], f"{path}[]")
        if "additionalProperties" in node:
            node["additionalProperties"] = self.convert(node["additionalProperties"], f"{path}[*]")
        _check(node, path)
        return {keyword: node[keyword] for keyword in KEYWORDS if keyword in node}

    def _inline(self, node: Node, path: str) -> Node:
        name = node["$ref"].removeprefix(_REFS)
        if name in self._open:
            raise InexpressibleSchema(f"{path}: {name} contains itself, which a structural schema cannot say")
        self._open.append(name)
        siblings = {keyword: value for keyword, value in node.items() if keyword != "$ref"}
        converted = self.convert({**self._definitions[name], **siblings}, path)
        self._open.pop()
        return converted

    def _property(self, node: Node, path: str) -> Node:
        converted = self.convert(node, path)
        if "description" not in converted:
            raise InexpressibleSchema(f"{path}: every field needs a description: give it a docstring")
        if "default" in converted:
            default = converted.pop("default")
            if "properties" in converted:
                _settle_object_default(converted, default, path)
            elif default not in _NOTHING:
                converted["default"] = default
        return {keyword: converted[keyword] for keyword in KEYWORDS if keyword in converted}


def _settle_object_default(node: Node, default: Any, path: str) -> None:
    """Set as default what the server would make of `{}`, if that is anything.

    `{}` itself will not do: the server judges a default by the rules of its object before it fills in the fields.
    """
    if default is None:
        return
    implied = _implied(node)
    if _pruned(default) != implied:
        raise InexpressibleSchema(
            f"{path}: the default {_pruned(default)} differs from {implied}, the defaults of its own fields"
        )
    if implied:
        node["default"] = implied


def _implied(node: Node) -> Node:
    """Return what the server makes of `{}`."""
    return {
        name: _implied(child) if "properties" in child else child["default"]
        for name, child in node["properties"].items()
        if "default" in child
    }


def _pruned(value: Any) -> Any:
    """Drop what says nothing."""
    if not isinstance(value, dict):
        return value
    kept = {key: _pruned(child) for key, child in value.items()}
    return {key: child for key, child in kept.items() if child not in _NOTHING}


def _respell(node: Node, path: str) -> Node:
    """Rewrite what the API server says in other words."""
    node = {keyword: value for keyword, value in node.items() if keyword != "title"}
    if "const" in node:
        node["enum"] = [node.pop("const")]
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node:
            node[bound], node[exclusive] = node[exclusive], True
    if node.pop("uniqueItems", False):
        node[LIST_TYPE] = "set"
    if node.get("additionalProperties") is True:
        node[PRESERVE] = node.pop("additionalProperties")
    if node.get("additionalProperties") is False:
        raise InexpressibleSchema(f"{path or '.'}: extra='forbid': unknown fields are the API server's to refuse")
    if "description" in node:
        node["description"] = " ".join(node["description"].split())
    return node


def _check(node: Node, path: str) -> None:
    kind = node.get("type")
    if kind is None and not node.get(INT_OR_STRING) and not node.get(PRESERVE):
        raise InexpressibleSchema(f"{path or '.'}: has no type")
    if kind == "number":
        raise InexpressibleSchema(f"{path}: a float: use an integer with its unit in the name, or a decimal string")
    if node.get("format", FORMATS[0]) not in FORMATS:
        raise InexpressibleSchema(
            f"{path}: format {node['format']!r}: use an integer with its unit in the name, or a pattern"
        )
    if kind == "array" and "maxItems" not in node:
        raise InexpressibleSchema(f"{path}: an unbounded list: set max_length")
    if kind == "string" and not node.keys() & {"maxLength", "enum", "format"}:
        raise InexpressibleSchema(f"{path}: an unbounded string: set max_length")
    if "additionalProperties" in node and "maxProperties" not in node:
        raise InexpressibleSchema(f"{path}: an unbounded map: set max_length")
