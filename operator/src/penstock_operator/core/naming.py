"""Names and labels of the children of an InferenceService.

Children carry the name of their service. A Kubernetes name has at most 63 characters and a Deployment's pods append
17 (`-<replicaset>-<pod>`), so longer names are cut and get a hash of the whole. Selector labels are immutable and
minimal.
"""

import hashlib

from penstock_contract import names

_MAX_LENGTH = 63 - 17


def child_name(service: str) -> str:
    """Name of the Deployment, Service and PodDisruptionBudget of `service`; at most 46 characters."""
    if len(service) <= _MAX_LENGTH:
        return service
    digest = hashlib.sha256(service.encode()).hexdigest()[:8]
    return f"{service[: _MAX_LENGTH - 9].rstrip('-.')}-{digest}"


def selector(service: str) -> dict[str, str]:
    """Labels that select the worker pods of `service`."""
    return {names.LABEL_NAME: names.WORKER_NAME, names.SERVICE: service}


def selector_string(service: str) -> str:
    """The same as a label selector string, as the scale subresource wants it."""
    return ",".join(f"{key}={value}" for key, value in selector(service).items())


def labels(service: str) -> dict[str, str]:
    """Labels of every child."""
    return selector(service) | {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_PART_OF: names.PART_OF}
