"""Reading a kubeconfig: the server's address, whom to trust, and the token or client certificate to show.

Only the current context counts. Login plugins are refused by name rather than ignored, because an anonymous request
fails later and says less.
"""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Connection:
    """Where an API server is and how to speak to it, out of a kubeconfig."""

    server: str
    token: str | None
    ca_data: str | None  # PEM
    tls: ssl.SSLContext | None

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Connection:
        """Read the current context of a kubeconfig.

        Raises:
            ValueError: the file lacks a part, or uses a login other than token or client certificate.
        """
        document = yaml.safe_load(path.read_text())
        try:
            context = _named(document["contexts"], document["current-context"])["context"]
            cluster: dict[str, Any] = _named(document["clusters"], context["cluster"])["cluster"]
            user: dict[str, Any] = _named(document["users"], context["user"])["user"]
            server = str(cluster["server"]).rstrip("/")
        except (KeyError, TypeError, LookupError) as error:
            raise ValueError(f"{path}: not a kubeconfig with a current context ({error!r})") from error
        if "exec" in user or "auth-provider" in user:
            raise ValueError(f"{path}: users[].user must hold a token or a client certificate, not a login plugin")
        token = user.get("token")
        if token is None and "tokenFile" in user:
            token = (path.parent / user["tokenFile"]).read_text().strip()
        ca_data = _pem(path, cluster, "certificate-authority")
        tls = None
        if server.startswith("https"):
            tls = ssl.create_default_context(cadata=ca_data)
            if cluster.get("insecure-skip-tls-verify"):
                tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
            if "client-certificate" in user:
                tls.load_cert_chain(path.parent / user["client-certificate"], path.parent / user["client-key"])
            elif "client-certificate-data" in user:
                raise ValueError(f"{path}: inline client-certificate-data is not supported; name files, or a token")
        return cls(server=server, token=token, ca_data=ca_data, tls=tls)


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _pem(path: Path, cluster: dict[str, Any], key: str) -> str | None:
    if f"{key}-data" in cluster:
        return base64.b64decode(cluster[f"{key}-data"]).decode()
    return (path.parent / cluster[key]).read_text() if key in cluster else None
