"""Whether the operator's ServiceAccount may do what it has to. The one who asks is never judged in its place.

Its rights are asked for with a SubjectAccessReview; who may not create one can still ask about himself, which helps
only where he is that account: inside the operator's own pod.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock_operator.adapters.errors import KubeError
from penstock_operator.adapters.kube import KubeClient
from penstock_operator.core import checkup
from penstock_operator.core.checkup import Result
from penstock_operator.core.rights import RIGHTS

Manifest = dict[str, Any]
FORBIDDEN = (401, 403)
_AUTHORIZATION = "apis/authorization.k8s.io/v1"
_AUTHENTICATION = "apis/authentication.k8s.io/v1"


async def permissions(kube: KubeClient, account: tuple[str, str], namespaces: Sequence[str]) -> list[Result]:
    """One result for all rights that are granted, one for each that is not.

    Args:
        kube: the API server.
        account: namespace and name of the operator's ServiceAccount.
        namespaces: that it watches; an empty name is all of them.

    Raises:
        KubeError: the API server was away.
    """
    whose, asked, refused = f"ServiceAccount {'/'.join(account)}", 0, []
    try:
        for namespace in namespaces:
            for right in RIGHTS:
                for verb in right.verbs:
                    asked += 1
                    if not await _may(kube, account, _attributes(right.group, right.resource, verb, namespace)):
                        place = f" in namespace {namespace}" if namespace else ""
                        refused.append(f"{verb} {right.resource}.{right.group}".rstrip(".") + place)
    except KubeError as error:
        if error.status not in FORBIDDEN:
            raise
        return [checkup.unseen_rights(f"the rights of {whose} may not be asked about with these rights")]
    return checkup.rights(refused, asked=asked, whose=whose)


def _attributes(group: str, resource: str, verb: str, namespace: str) -> Manifest:
    plural, _, sub = resource.partition("/")
    attributes = {"group": group, "resource": plural, "subresource": sub, "verb": verb, "namespace": namespace}
    return {"resourceAttributes": {key: value for key, value in attributes.items() if value}}


async def _may(kube: KubeClient, account: tuple[str, str], spec: Manifest) -> bool:
    """Whether the account may.

    Raises:
        KubeError: the API server refused to tell, or was away.
    """
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}", "system:authenticated"]
    user = f"system:serviceaccount:{':'.join(account)}"
    try:
        kind, asked = "SubjectAccessReview", spec | {"user": user, "groups": groups}
        answer = await kube.review(f"{_AUTHORIZATION}/subjectaccessreviews", _review(_AUTHORIZATION, kind, asked))
    except KubeError as error:
        if error.status not in FORBIDDEN or await _myself(kube) != user:
            raise
        kind = "SelfSubjectAccessReview"
        answer = await kube.review(f"{_AUTHORIZATION}/selfsubjectaccessreviews", _review(_AUTHORIZATION, kind, spec))
    return bool(answer.get("status", {}).get("allowed"))


async def _myself(kube: KubeClient) -> str:
    """User name of the one who asks."""
    answer = await kube.review(
        f"{_AUTHENTICATION}/selfsubjectreviews", _review(_AUTHENTICATION, "SelfSubjectReview", None)
    )
    return str(answer.get("status", {}).get("userInfo", {}).get("username") or "")


def _review(path: str, kind: str, spec: Manifest | None) -> Manifest:
    body: Manifest = {"apiVersion": path.removeprefix("apis/"), "kind": kind}
    return body if spec is None else body | {"spec": spec}
