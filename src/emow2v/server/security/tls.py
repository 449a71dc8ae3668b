"""A self-signed certificate, for clients that require HTTPS and check nothing (NOVA)."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from emow2v import storage
from emow2v.errors import Emow2vError
from emow2v.storage.atomic import atomic_file

logger = logging.getLogger("emow2v.server")

DAYS = 365
RENEW_DAYS = 30  # a certificate that ends sooner is replaced at the start


def self_signed(folder: Path, host: str = "") -> tuple[Path, Path]:
    """Certificate and key in a folder; made where they are missing or about to expire. Only the owner can read the key.

    Args:
        host: address that the server listens on, which the certificate names beside localhost and the machine

    Raises:
        Emow2vError: the package cryptography is not installed, or the folder cannot be written to
    """
    certificate, key = folder / "tls-cert.pem", folder / "tls-key.pem"
    try:
        import cryptography  # noqa: F401 (whether it is here)
    except ImportError:
        raise Emow2vError("--tls-self-signed needs the package cryptography; run: pip install 'emow2v[tls]'") from None
    try:
        if _is_valid(certificate, key):
            return certificate, key
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip((certificate, key), _make(host), strict=True):
            with atomic_file(path, mode=0o600) as file:
                file.write(text)
    except OSError as error:
        raise Emow2vError(
            f"No certificate can be made in {folder} ({error}); choose another --work-dir, or give --tls-cert and --tls-key."
        ) from None
    return certificate, key


def _is_valid(certificate: Path, key: Path) -> bool:
    """Whether both exist, belong together and are valid long enough; a server that was killed may have written only one."""
    from cryptography import x509

    if not (storage.is_file(certificate) and storage.is_file(key)):
        return False
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (ssl.SSLError, ValueError) as error:  # cryptography raises the latter for a text that is no certificate
        logger.warning("%s and %s are no certificate with its key (%s); both are made anew", certificate, key, error)
        return False
    return ends > datetime.now(UTC) + timedelta(days=RENEW_DAYS)


def _make(host: str) -> tuple[bytes, bytes]:
    """Certificate and key as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emow2v")])
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    for other in dict.fromkeys((socket.gethostname(), host.strip("[]"))):
        try:
            address = ipaddress.ip_address(other)
        except ValueError:
            if other and other.isascii() and other != "localhost":
                names.append(x509.DNSName(other))
        else:
            if not address.is_unspecified and str(address) != "127.0.0.1":
                names.append(x509.IPAddress(address))
    begin = datetime.now(UTC) - timedelta(hours=1)  # clocks differ
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), secret
