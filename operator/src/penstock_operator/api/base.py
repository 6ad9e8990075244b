"""What all models of the resource share: how they are read, and rules that two judges apply.

A `Rule` is written once as CEL and once as Python, side by side. The API server applies the CEL, which the
CRD carries; pydantic applies the Python when a manifest is read, so that files which never saw a server and
resources that were stored under older rules are judged alike. A test runs both judges over one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, core_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

VALIDATIONS = "x-kubernetes-validations"
RULE_ERROR = "rule"


@dataclass(frozen=True, slots=True)
class Rule:
    """A check that a plain schema cannot express: on a model (`Model.rules`) or on a type (in `Annotated`).

    Attributes:
        cel: the check as CEL over `self`; true when all is well. Defaults have been applied.
        message: names the field and the fix.
        holds: the same check as Python over the read value.
        field: where to report it, relative to `self`, in the spelling of the resource; empty for `self`.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    field: str = ""

    def manifest(self) -> dict[str, str]:
        """Give the entry of `x-kubernetes-validations`."""
        where = {"fieldPath": f".{self.field}"} if self.field else {}
        return {"rule": self.cel, "message": self.message, **where}

    def check(self, value: Any) -> Any:
        """Return the value.

        Raises:
            PydanticCustomError: the rule does not hold.
        """
        if not self.holds(value):
            raise PydanticCustomError(RULE_ERROR, "{problem}", {"problem": self.message, "field": self.field})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        described = dict(handler(schema))
        described[VALIDATIONS] = [*described.get(VALIDATIONS, []), self.manifest()]
        return described


def _without_nulls(value: Any) -> Any:
    """Drop what is null in a map; what is no model drops nothing by itself."""
    if isinstance(value, dict):
        return {key: child for key, child in value.items() if child is not None}
    return value


class Model(BaseModel):
    """Base of all models: camelCase outside, snake_case inside, frozen, unknown fields ignored.

    Unknown fields are ignored so that a newer CRD does not stop an older operator; the API server is where
    they are refused. A field that is null counts as not given, as it does for the API server.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: _without_nulls(value) for key, value in data.items() if value is not None}
        return data

    @model_validator(mode="after")
    def _apply_rules(self) -> Self:
        for rule in self.rules:
            rule.check(self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        schema = dict(handler(core_schema))
        if cls.rules:
            target = handler.resolve_ref_schema(schema)
            target[VALIDATIONS] = [rule.manifest() for rule in cls.rules]
        return schema
