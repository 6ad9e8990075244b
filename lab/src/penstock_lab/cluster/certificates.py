"""Throw-away certificates and keys of one cluster.

Everything a control plane needs to trust itself is made here, in memory and within milliseconds: one authority for
servers, clients and etcd, one for the aggregation layer, one key pair that signs ServiceAccount tokens. All files are
readable by their owner only: whoever reads them is the cluster's administrator, and its node agent runs processes.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from penstock_lab.cluster.files import write_private

if TYPE_CHECKING:
    from pathlib import Path

LIFETIME: Final = timedelta(days=365)
SERVER_NAMES: Final = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
FRONT_PROXY_NAME: Final = "front-proxy-client"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Paths of what `create` wrote: PEM files in one folder."""

    folder: Path

    def file(self, name: str) -> str:
        """Path of one file, as the flag value that the components want."""
        return str(self.folder / name)

    @property
    def authority(self) -> Path:
        """The CA that signed the API server's certificate."""
        return self.folder / "ca.crt"


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def create(folder: Path, *, service_ip: str) -> Certificates:
    """Write a new set of certificates into `folder`.

    Args:
        folder: Created when missing.
        service_ip: First address of the Service range, which pods know the API server by.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificates = Certificates(folder)
    authority = _authority(folder, "ca", "penstock-local")
    proxies = _authority(folder, "front-proxy-ca", "penstock-local-front-proxy")
    _leaf(folder, "server", authority, common_name="kube-apiserver", service_ip=service_ip)
    _leaf(folder, "etcd-client", authority, common_name="kube-apiserver-etcd-client")
    _leaf(folder, "front-proxy-client", proxies, common_name=FRONT_PROXY_NAME)
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(folder / "service-account.key", _private_pem(key))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_private(folder / "service-account.pub", public)
    return certificates


def _authority(folder: Path, name: str, common_name: str) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, issuer=subject, key=key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))
    write_private(folder / f"{name}.key", _private_pem(key))
    return _Authority(certificate, key)


def _leaf(folder: Path, name: str, authority: _Authority, *, common_name: str, service_ip: str | None = None) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(subject, issuer=authority.certificate.subject, key=key)
    if service_ip is not None:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        addresses = [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", service_ip)]
        names = [x509.DNSName(dns) for dns in SERVER_NAMES]
        builder = builder.add_extension(x509.SubjectAlternativeName([*addresses, *names]), critical=False)
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    write_private(folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))
    write_private(folder / f"{name}.key", _private_pem(key))


def _builder(subject: x509.Name, *, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # The traditional form: kube-apiserver and kube-controller-manager read it, and openssl shows it.
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
