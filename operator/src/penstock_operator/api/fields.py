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

from penstock_operator.api.base import Rule

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

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
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


def _int_or_matches(*, ints: str, minimum: int, maximum: int, pattern: str, message: str) -> Rule:
    compiled = re.compile(pattern)
    return Rule(
        cel=f"type(self) == int ? {ints} : self.matches(r'^({pattern})$')",
        message=message,
        holds=lambda value: (
            minimum <= value <= maximum if isinstance(value, int) else compiled.fullmatch(value) is not None
        ),
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

Percentile = Annotated[
    int | str,
    IntOrString(),
    _int_or_matches(
        ints="self >= 1 && self <= 99",
        minimum=1,
        maximum=99,
        pattern=r"[1-9][0-9]?\.[0-9]{0,2}[1-9]",
        message='must be an integer from 1 to 99, or a string with at most three decimals such as "99.9"',
    ),
]

Quantity = Annotated[
    int | str,
    IntOrString(),
    _int_or_matches(
        ints="self >= 0",
        minimum=0,
        maximum=2**63 - 1,
        pattern=r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?",
        message='must be a quantity such as 4, "500m" or 32Gi',
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
