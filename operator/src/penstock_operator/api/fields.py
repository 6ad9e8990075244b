"""Types of single fields: names, quantities, percentiles, money, times.

Each type bounds its length (CEL is charged by the longest value that the schema admits) and says in its
message what a right value looks like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer, Strict
from pydantic_core import PydanticCustomError, core_schema

from penstock_operator.api.base import RULE_ERROR, Rule

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

MAX_MESSAGE = 2048


def matches(pattern: str, message: str) -> Rule:
    """Make the rule that a whole string matches a pattern which RE2 and Python read alike."""
    compiled = re.compile(pattern)
    return Rule(
        cel=f"self.matches(r'^({pattern})$')",
        message=message,
        holds=lambda value: compiled.fullmatch(value) is not None,
    )


@dataclass(frozen=True, slots=True)
class IntOrString:
    """Marks `int | str` as Kubernetes' int-or-string."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"x-kubernetes-int-or-string": True}

    @staticmethod
    def _read(value: Any) -> int | str:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise PydanticCustomError("int_or_string", "must be an integer or a string")
        return value


@dataclass(frozen=True, slots=True)
class ListMap:
    """Marks a list of models as a map: server-side apply merges it entry by entry.

    Attributes:
        keys: names of the fields that tell entries apart; each one word.
    """

    keys: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            **handler(schema),
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": list(self.keys),
        }

    def _check(self, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        seen = set()
        for index, entry in enumerate(entries):
            key = tuple(getattr(entry, name) for name in self.keys)
            if key in seen:
                said = " and ".join(f"{name} {value}" for name, value in zip(self.keys, key, strict=True))
                problem = f"an entry before has the same {said}: remove one"
                raise PydanticCustomError(RULE_ERROR, "{problem}", {"problem": problem, "field": index})
            seen.add(key)
        return entries


def _has_percentile_head(value: int | str) -> bool:
    if isinstance(value, int):
        return 1 <= value <= 99
    return len(value) <= 6 and re.match(r"[1-9][0-9]?\.[0-9]*\Z", value) is not None


def _has_percentile_tail(value: int | str) -> bool:
    return isinstance(value, int) or re.search(r"\.[0-9]*[1-9]\Z", value) is not None


def _is_quantity(value: int | str) -> bool:
    if isinstance(value, int):
        return value >= 0
    return _QUANTITY.fullmatch(value) is not None


# apimachinery, pkg/api/resource/quantity.go, without the minus.
_QUANTITY = re.compile(
    r"\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?",
)

Integer = Annotated[int, Strict()]

DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(
        rf"{DNS_LABEL}(\.{DNS_LABEL})*",
        "must be the name of an object: lower case letters, digits, '-' and '.', such as my-secret",
    ),
]

ImageReference = Annotated[
    str,
    Field(min_length=1, max_length=512),
    matches(
        r"[A-Za-z0-9][A-Za-z0-9._:/@-]*",
        "must be an image reference such as ghcr.io/acme/worker:0.1.0 or reg/name@sha256:...",
    ),
]

# The length of an int-or-string cannot be bounded in the schema, so CEL is charged for a string as long as a whole
# request. In a list of eight that leaves room for a pattern of eight characters in each rule, in a map for none.
# One number has one spelling, for it is part of the key of its list.
_PERCENTILE = 'must be an integer from 1 to 99, or a string such as "99.9": up to 6 characters, no trailing zero'
Percentile = Annotated[
    int | str,
    IntOrString(),
    Rule(
        r"type(self) == int ? self >= 1 && self <= 99 : size(self) <= 6 && self.matches('^[1-9]')"
        " && double(self) < 100.0",
        _PERCENTILE,
        _has_percentile_head,
    ),
    Rule(
        r"type(self) == int || (self.matches(r'\.\d+$') && !self.endsWith('0'))",
        _PERCENTILE,
        _has_percentile_tail,
    ),
]

Quantity = Annotated[
    int | str,
    IntOrString(),
    Rule(
        "type(self) == int ? self >= 0 : isQuantity(self) && !self.startsWith('-')",
        'must be a quantity such as 4, "500m" or 32Gi',
        _is_quantity,
    ),
]

Money = Annotated[
    str,
    Field(min_length=1, max_length=16),
    matches(r"[0-9]{1,9}(\.[0-9]{1,6})?", 'must be an amount as a string, such as "2.50"'),
]

Share = Annotated[
    str,
    Field(min_length=1, max_length=8),
    matches(r"0(\.[0-9]{1,6})?|1(\.0{1,6})?", 'must be a share from 0 to 1 as a string, such as "0.962"'),
]

CamelCase = Annotated[
    str,
    Field(min_length=1, max_length=64),
    matches(r"[A-Za-z][A-Za-z0-9]*", "must be in CamelCase"),
]

Message = Annotated[
    str,
    BeforeValidator(lambda text: text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"),
    Field(max_length=MAX_MESSAGE),
]

Timestamp = Annotated[
    AwareDatetime,
    # Whole seconds in UTC, as the API server keeps them: what is read back equals what was written.
    AfterValidator(lambda moment: moment.astimezone(UTC).replace(microsecond=0)),
    PlainSerializer(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}", return_type=str, when_used="json"),
]
