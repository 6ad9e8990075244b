"""Questions to the processes of a cluster, asked over loopback and never through a proxy."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.cluster.addresses import LOOPBACK

if TYPE_CHECKING:
    from penstock_lab.cluster.certificates import Certificates
    from penstock_lab.cluster.components import Component

TIMEOUT_SECONDS: Final = 5.0
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; status 0 when there was none."""

    status: int
    body: bytes = b""

    @property
    def ok(self) -> bool:
        """Whether the status was 200."""
        return self.status == _OK

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Prober:
    """Asks as the cluster's administrator, with the cluster's own authority as the only one trusted."""

    def __init__(self, certificates: Certificates, *, token: str) -> None:
        self._token = token
        self._context = ssl.create_default_context(cafile=str(certificates.authority))
        # Only etcd gets a client certificate: to the API server it would count as the identity instead of the token.
        self._etcd_context = ssl.create_default_context(cafile=str(certificates.authority))
        self._etcd_context.load_cert_chain(certificates.file("etcd-client.crt"), certificates.file("etcd-client.key"))

    def ready(self, component: Component) -> bool:
        """Whether a component says that it is ready; one without a port cannot say, which counts as ready."""
        if component.port is None:
            return True
        if not component.tls:
            connection = http.client.HTTPConnection(LOOPBACK, component.port, timeout=TIMEOUT_SECONDS)
        else:
            context = self._etcd_context if component.name == "etcd" else self._context
            connection = http.client.HTTPSConnection(LOOPBACK, component.port, timeout=TIMEOUT_SECONDS, context=context)
        return _ask(connection, "GET", component.ready_path, headers={}).ok

    def api(self, port: int, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """Ask the API server on `port`."""
        connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=TIMEOUT_SECONDS, context=self._context)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        return _ask(connection, method, path, headers=headers, body=data)


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    *,
    headers: dict[str, str],
    body: str | None = None,
) -> Answer:
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except (OSError, http.client.HTTPException):
        return Answer(0)
    finally:
        connection.close()
