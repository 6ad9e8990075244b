"""The generator says everything or raises."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from penstock_operator.api.base import Model, Rule
from penstock_operator.api.errors import InexpressibleSchema
from penstock_operator.api.schema import structural


def _property(annotation: Any, default: Any = ...) -> dict[str, Any]:
    model = create_model("Example", __base__=Model, field=(annotation, Field(default, description="A field.")))
    return structural(model)["properties"]["field"]


class Node(Model):
    """A node."""

    children: Annotated[tuple[Node, ...], Field(max_length=3)] = ()
    """Its children."""


class Forbidding(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid")


class Plain(Model):
    """Two numbers."""

    first: int = 1
    """The first."""
    second: int = 2
    """The second."""


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        (int | str, "anyOf"),
        (int | bool, "anyOf"),
        (tuple[int, str], "prefixItems"),
        (float, "a float"),
        (timedelta, "duration"),
        (list[int], "an unbounded list: set max_length"),
        (tuple[int, ...], "an unbounded list: set max_length"),
        (str, "an unbounded string: set max_length"),
        (Annotated[list[str], Field(max_length=3)], r"\[\]: an unbounded string"),
        (dict[str, int], "an unbounded map: set max_length"),
        (Any, "has no type"),
        (Forbidding, "extra='forbid'"),
        (Node, "Node contains itself"),
        (Annotated[int, Field(json_schema_extra={"readOnly": True})], "readOnly"),
        (Annotated[int, Field(deprecated=True)], "deprecated"),
    ],
)
def test_what_has_no_structural_form_raises(annotation, says):
    with pytest.raises(InexpressibleSchema, match=says):
        _property(annotation)


def test_the_field_at_fault_is_named():
    outer = create_model("Outer", __base__=Model, inner=(Node, Field(description="A field.")))

    with pytest.raises(InexpressibleSchema, match=r"\.inner\.children\[\]: Node contains itself"):
        structural(outer)


def test_a_field_without_description_raises():
    with pytest.raises(InexpressibleSchema, match=r"\.field: every field needs a description"):
        structural(create_model("Example", __base__=Model, field=(int, 1)))


def test_a_default_other_than_that_of_the_fields_raises():
    """The server would fill in the defaults of the fields, and GET would show something else."""
    with pytest.raises(InexpressibleSchema, match=r"differs from .*'second': 2"):
        _property(Plain, Plain(second=3))


@pytest.mark.parametrize(
    ("annotation", "keywords"),
    [
        (Annotated[int, Field(gt=0, lt=9)],
         {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": True}),
        (Literal["x"], {"type": "string", "enum": ["x"]}),
        (Annotated[int, Field(ge=1)] | None, {"type": "integer", "minimum": 1}),
        (Annotated[set[int], Field(max_length=2)],
         {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "set", "items": {"type": "integer"}}),
        (Annotated[dict[str, int], Field(max_length=2)],
         {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "integer"}}),
        (dict[str, Any], {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
    ],
)  # fmt: skip
def test_other_words_for_the_same(annotation, keywords):
    assert _property(annotation) == {"description": "A field.", **keywords}


@pytest.mark.parametrize(
    ("annotation", "default"),
    [
        (Annotated[tuple[int, ...], Field(max_length=1)] | None, None),
        (Annotated[tuple[int, ...], Field(max_length=1)], ()),
        (Annotated[dict[str, int], Field(max_length=1)], {}),
        (Annotated[str, Field(max_length=1)], ""),
    ],
)
def test_a_default_that_says_nothing_is_left_out(annotation, default):
    assert "default" not in _property(annotation, default)


def test_a_default_that_is_zero_or_false_says_something():
    assert _property(int, 0)["default"] == 0
    assert _property(bool, False)["default"] is False


def test_the_default_of_an_object_is_spelt_out():
    """The server judges it by the object's rules before it fills anything in."""
    assert _property(Plain, Plain())["default"] == {"first": 1, "second": 2}


def test_rules_become_validations():
    rule = Rule("self.first < self.second", "first must be below second", lambda _: True, field="first")
    model = type("Ruled", (Plain,), {"rules": (rule,), "__doc__": "Ruled.", "__module__": __name__})

    assert structural(model)["x-kubernetes-validations"] == [
        {"rule": "self.first < self.second", "message": "first must be below second", "fieldPath": ".first"}
    ]


def test_keywords_of_two_rules_on_one_type_add_up():
    both = Annotated[int, Rule("self > 0", "a", lambda _: True), Rule("self < 9", "b", lambda _: True)]

    assert [validation["rule"] for validation in _property(both)["x-kubernetes-validations"]] == [
        "self > 0",
        "self < 9",
    ]
