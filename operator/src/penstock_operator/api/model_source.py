"""`spec.model`: what is served, under which name, and where its weights come from."""

from typing import Annotated, ClassVar

from pydantic import Field

from penstock_operator.api.base import Model, Rule
from penstock_operator.api.fields import ImageReference, Integer, ObjectName, matches

SecretKey = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matches(r"[-._a-zA-Z0-9]+", "must be a key of a Secret: letters, digits, '-', '_' and '.'"),
]

_NO_DOTS = "!('..' in self.split('/'))"


def _climbs(path: str) -> bool:
    return ".." in path.split("/")


class SecretKeyRef(Model):
    """One key of a Secret in the namespace of the resource."""

    name: ObjectName
    """Name of the Secret."""
    key: SecretKey = "token"
    """Key within the Secret."""


class HuggingFaceSource(Model):
    """A repository on the Hugging Face Hub, downloaded when a replica starts."""

    repo: Annotated[
        str,
        Field(min_length=1, max_length=200),
        matches(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", "repo must look like Qwen/Qwen3-8B"),
    ]
    """Repository, such as Qwen/Qwen3-8B."""
    revision: (
        Annotated[
            str,
            Field(min_length=1, max_length=128),
            matches(r"[A-Za-z0-9][\w./-]*", "revision must be a commit, tag or branch, such as 9c925d6"),
        ]
        | None
    ) = None
    """Commit, tag or branch. Pin a commit: otherwise replicas that start later may serve other weights."""
    token_secret_ref: SecretKeyRef | None = None
    """Secret with the access token, for repositories that ask for one. The operator never reads it."""


class PVCSource(Model):
    """A directory on a PersistentVolumeClaim, mounted read-only into every replica."""

    claim_name: ObjectName
    """Name of the PersistentVolumeClaim in the namespace of the resource."""
    path: Annotated[
        str,
        Field(max_length=1024),
        Rule(
            f"!self.startsWith('/') && {_NO_DOTS}",
            "path is relative to the root of the volume: remove the leading '/' and any '..'",
            lambda path: not path.startswith("/") and not _climbs(path),
        ),
    ] = ""
    """Directory of the checkpoint, relative to the root of the volume; the root when empty."""


class ImageSource(Model):
    """An image whose content is the checkpoint, mounted read-only as an image volume."""

    reference: ImageReference
    """Image reference; pin a digest."""


class ModelSource(Model):
    """Where the weights come from; exactly one."""

    hugging_face: HuggingFaceSource | None = None
    """A repository on the Hugging Face Hub."""
    pvc: PVCSource | None = None
    """A directory on a PersistentVolumeClaim."""
    image: ImageSource | None = None
    """An image that holds the checkpoint."""
    container_path: (
        Annotated[
            str,
            Field(min_length=2, max_length=1024),
            Rule(
                f"self.startsWith('/') && {_NO_DOTS}",
                "containerPath must be absolute, such as /models/tiny, and without '..'",
                lambda path: path.startswith("/") and not _climbs(path),
            ),
        ]
        | None
    ) = None
    """Absolute path of a checkpoint that the worker's image already contains."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.huggingFace), has(self.pvc), has(self.image), has(self.containerPath)]"
            ".filter(given, given).size() == 1",
            "set exactly one of huggingFace, pvc, image and containerPath in spec.model.source",
            lambda source: (
                sum(
                    choice is not None
                    for choice in (source.hugging_face, source.pvc, source.image, source.container_path)
                )
                == 1
            ),
        ),
    )


class ServedModel(Model):
    """What is served."""

    name: (
        Annotated[
            str,
            Field(min_length=1, max_length=128),
            matches(
                r"[A-Za-z0-9][A-Za-z0-9._:/-]*",
                "name must begin with a letter or digit; further on '.', '_', ':', '/' and '-' are allowed",
            ),
        ]
        | None
    ) = None
    """Name that requests give as `model`; the name of the resource when not set."""
    max_model_len: Annotated[Integer, Field(ge=1, le=16_777_216)] | None = None
    """Longest sequence in tokens, prompt and output together; what the checkpoint says when not set."""
    source: ModelSource
    """Where the weights come from; exactly one of the choices."""
