"""The InferenceService itself, and how a raw object of the API becomes one."""

from typing import Any, ClassVar, Final, Self

from pydantic import Field, ValidationError

from penstock_contract.names import API_VERSION, KIND
from penstock_operator.api.base import RULE_ERROR, Model, Rule
from penstock_operator.api.errors import InvalidSpec, Problem
from penstock_operator.api.fields import Integer, Timestamp, matches
from penstock_operator.api.spec import InferenceServiceSpec
from penstock_operator.api.status import InferenceServiceStatus

# Children carry the name with a suffix, pods two more, and a label value holds 63 characters.
MAX_NAME: Final = 40
_name = matches("[a-z]([-a-z0-9]*[a-z0-9])?", "")


class ObjectMeta(Model):
    """The part of the metadata that the operator reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: Integer = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None


class InferenceService(Model):
    """A model served at a service level with the fewest accelerators."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: ObjectMeta
    spec: InferenceServiceSpec
    """What is served, by what, and at which service level."""
    status: InferenceServiceStatus | None = None
    """What was last observed and decided."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"self.metadata.name.size() <= {MAX_NAME} && " + _name.cel.replace("self.", "self.metadata.name."),
            f"metadata.name must have at most {MAX_NAME} characters, begin with a letter, and hold only "
            "lower case letters, digits and '-': the names of its Service and pods are made of it",
            lambda service: len(service.metadata.name) <= MAX_NAME and _name.holds(service.metadata.name),
        ),
    )

    @property
    def served_name(self) -> str:
        """Name that requests give as `model`, the default resolved."""
        return self.spec.model.name or self.metadata.name

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Self:
        """Read an object of the API.

        A status that cannot be read counts as none: it is output, and is written anew.

        Args:
            raw: the object as JSON gives it.

        Raises:
            InvalidSpec: with every problem that was found, by field path.
        """
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            problems = [_problem(dict(detail)) for detail in error.errors(include_url=False, include_input=False)]
        in_status = [problem for problem in problems if problem.path.startswith("status")]
        if in_status and len(in_status) == len(problems):
            return cls.parse({key: value for key, value in raw.items() if key != "status"})
        raise InvalidSpec(problem for problem in problems if problem not in in_status)


def _problem(detail: dict[str, Any]) -> Problem:
    location = detail["loc"]
    if detail["type"] == RULE_ERROR and detail["ctx"]["field"]:
        location = (*location, detail["ctx"]["field"])
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return Problem(path=path, message=detail["msg"])
