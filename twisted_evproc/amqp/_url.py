"""Where the broker is, and how to get there."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import attrs

from ..errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint

_PORTS = {"amqp": 5672, "amqps": 5671}
_FILES = ("ca_file", "cert_file", "key_file")
_OPTIONS = (*_FILES, "server_name")
_BAD_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)


@attrs.frozen
class Address:
    """
    Where a broker is, and as whom to go there; as text without the password.

    :ivar tls: whether the connection is encrypted.
    :ivar ca_file: the authorities to trust, as PEM; ``""`` for those of the system.
    :ivar cert_file: our own certificate as PEM, with the certificates that lead to it behind it, or ``""``.
    :ivar key_file: the key of our certificate as PEM; ``""`` where ``cert_file`` has it too.
    :ivar server_name: what the broker's certificate has to say; ``""`` for the host.
    """

    host: str
    port: int = 5672
    virtual_host: str = "/"
    user: str = "guest"
    password: str = attrs.field(default="guest", repr=False)
    tls: bool = False
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        virtual_host = "" if self.virtual_host == "/" else quote(self.virtual_host, safe="")
        return f"{quote(self.user, safe='')}@{host}:{self.port}/{virtual_host}"


def parse_url(url: str) -> Address:
    """
    Read the URL of a broker: ``amqp://user:password@host:port/virtual-host``, or ``amqps://...`` with TLS.

    Whatever is left out has the broker's default: ``guest`` with the password ``guest``, 5672 or with TLS 5671, the virtual host
    ``/``.  Options of TLS follow as in ``?ca_file=...&cert_file=...&key_file=...&server_name=...``.  What has a meaning in URLs
    is written as ``%`` and two hexadecimal digits.

    No error shows the password, nor anything that may be a part of one.

    :raises twisted_evproc.errors.ConfigurationError: for anything else, and for files that are not there.

    Source: https://www.rabbitmq.com/docs/uri-spec, but that an empty virtual host is ``/``, too.
    """
    parts = _split(url)
    tls = parts.scheme == "amqps"
    user, password = _user(parts)
    # The port first: it knows more about what is wrong with both.
    port = _port(parts)
    address = Address(
        host=_host(parts),
        port=port,
        virtual_host=_virtual_host(parts.path),
        user=user,
        password=password,
        tls=tls,
        **_options(parts.query),
    )
    _check_tls(address)
    return address


def _split(url: Any) -> SplitResult:
    if not isinstance(url, str):
        raise ConfigurationError(f"the broker's URL has to be text such as 'amqp://user:password@host', not {type(url).__name__}")
    # urlsplit() would take out some of these without a word.
    if not url.isprintable() or " " in url:
        raise ConfigurationError(
            "the broker's URL has a space, a control character or a line break in it.  Take it out, or write it as '%' and two "
            "hexadecimal digits (a space is %20)."
        )
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() not in _PORTS:
        # What stands before a colon may be a user's name, with the password behind it.
        named = f"not {scheme}://" if found and scheme.isalnum() else "and has no scheme that is known"
        raise ConfigurationError(f"the broker's URL has to begin with amqp:// or amqps://, {named}")
    if _BAD_ESCAPE.search(rest):
        raise ConfigurationError("the broker's URL has a '%' without two hexadecimal digits behind it.  Write '%' itself as %25.")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(
            "the broker's URL has a host that is none.  Give a name or an address, one of IPv6 in brackets, and write '[', ']', "
            "'/', '?' and '#' in the password as %5B, %5D, %2F, %3F and %23."
        ) from None
    if "#" in rest or "@" in parts.path or "@" in parts.query:
        # The user's part ends at the last '@': one further on means that the password ended it too soon.
        raise ConfigurationError(
            "the broker's URL has a '#', or an '@' behind the host.  Write '/', '?', '#' and '@' in the password, the virtual "
            "host and the names of files as %2F, %3F, %23 and %40."
        )
    return parts


def _text(encoded: str, what: str) -> str:
    try:
        text = unquote(encoded, errors="strict")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what} in the broker's URL is not UTF-8.  Write its bytes as %xx of UTF-8.") from None
    if "\0" in text:
        raise ConfigurationError(f"{what} in the broker's URL has a NUL (%00).  Take it out.")
    return text


def _user(parts: SplitResult) -> tuple[str, str]:
    if "@" not in parts.netloc:
        return "guest", "guest"
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    if not user or not colon:
        raise ConfigurationError(
            "the broker's URL has to have a user and a password in front of the '@', as in amqp://user:password@host; without "
            "both, and without '@', they are guest and guest"
        )
    return _text(user, "the user"), _text(password, "the password")


def _host(parts: SplitResult) -> str:
    host = _text(parts.hostname or "", "the host")
    if not host or not host.isprintable() or set(host) & set(" /@?#"):
        raise ConfigurationError(
            "the broker's URL has to name a host, as in amqp://user:password@host; this machine is localhost"
        )
    return host


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port is None:
        return _PORTS[parts.scheme]
    if not port:
        raise ConfigurationError(
            "the broker's URL has to have a port from 1 to 65535 behind the host, or none.  Write ':' and '/' in the password as "
            "%3A and %2F, and an address of IPv6 in brackets."
        )
    return port


def _virtual_host(path: str) -> str:
    name = path[1:]
    if name in ("", "/"):
        return "/"
    if "/" in name:
        raise ConfigurationError(f"the virtual host {name!r} in the broker's URL has a '/' in it.  Write it as %2F.")
    name = _text(name, "the virtual host")
    if len(name.encode()) > 255:
        raise ConfigurationError(
            "the virtual host in the broker's URL has more than 255 bytes.  The broker has none of that name."
        )
    return name


def _options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    # Not parse_qsl(), to which a '+' is a space: files have it in their names.
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        name = _text(name, "an option")
        if name not in _OPTIONS:
            raise ConfigurationError(
                f"the option {name!r} in the broker's URL is not known; there are {', '.join(_OPTIONS)}.  Give others to the "
                f"transport."
            )
        if name in options:
            raise ConfigurationError(f"the option {name} stands in the broker's URL twice.  Give it once.")
        value = _text(value, f"the option {name}")
        if not value:
            raise ConfigurationError(f"the option {name} in the broker's URL is empty.  Give it a value, or leave it out.")
        options[name] = value
    return options


def _check_tls(address: Address) -> None:
    given = [name for name in _OPTIONS if getattr(address, name)]
    if given and not address.tls:
        raise ConfigurationError(
            f"{', '.join(given)} in the broker's URL has no meaning without TLS.  Begin the URL with amqps://, or leave it out."
        )
    if address.key_file and not address.cert_file:
        raise ConfigurationError(
            f"key_file={address.key_file!r} in the broker's URL needs its certificate.  Give cert_file, too."
        )
    for name in _FILES:
        path = getattr(address, name)
        if path and not os.path.isfile(path):
            raise ConfigurationError(f"{name}={path!r} in the broker's URL is no file.  Correct the path, or make the file.")


def endpoint_for(address: Address, reactor: Any, timeout: float) -> IStreamClientEndpoint:
    """
    An endpoint that leads to a broker.

    :param timeout: in seconds, for connecting; the handshake of TLS comes after that.
    :raises twisted_evproc.errors.ConfigurationError: for files that cannot be read.
    :raises twisted_evproc.errors.MissingExtra: for TLS, when its libraries are not installed.
    """
    from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS

    plain = HostnameEndpoint(reactor, address.host, address.port, timeout=timeout)
    # The clock is given because the reactor would be installed otherwise.
    return wrapClientTLS(_tls_options(address), plain, clock=reactor) if address.tls else plain


def _tls_options(address: Address) -> Any:
    try:
        from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
    except ImportError as error:
        raise MissingExtra("TLS (amqps://)", "amqp") from error
    trust_root = None
    if address.ca_file:
        trust_root = trustRootFromCertificates(map(Certificate.loadPEM, _certificates("ca_file", address.ca_file)))
    return optionsForClientTLS(
        address.server_name or address.host,
        trustRoot=trust_root,
        extraCertificateOptions=_own_certificate(address) if address.cert_file else None,
    )


def _pem(option: str, path: str) -> list[tuple[str, bytes]]:
    """The blocks of a file, each with its label."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise ConfigurationError(
            f"{option}={path!r} cannot be read: {error.strerror}.  Correct the path, or its permissions."
        ) from error
    return [(match[1].decode(), match[0] + b"\n") for match in _PEM.finditer(content)]


def _certificates(option: str, path: str) -> list[bytes]:
    """The certificates of a file, of which there is at least one."""
    from cryptography.x509 import load_pem_x509_certificate

    blocks = [block for label, block in _pem(option, path) if label == "CERTIFICATE"]
    try:
        _ = [load_pem_x509_certificate(block) for block in blocks]
    except ValueError as error:
        raise ConfigurationError(
            f"{option}={path!r} has a certificate that is broken.  Give a file that OpenSSL reads."
        ) from error
    if not blocks:
        raise ConfigurationError(f"{option}={path!r} has no certificate in it.  Give one as PEM (-----BEGIN CERTIFICATE-----).")
    return blocks


def _own_certificate(address: Address) -> dict[str, Any]:
    """Our certificate with its key, and the certificates that lead to it, as Twisted's options."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from cryptography.x509 import load_pem_x509_certificate
    from twisted.internet.ssl import CertificateOptions

    own, *chain = map(load_pem_x509_certificate, _certificates("cert_file", address.cert_file))
    option, path = ("key_file", address.key_file) if address.key_file else ("cert_file", address.cert_file)
    keys = [(label, block) for label, block in _pem(option, path) if label.endswith("PRIVATE KEY")]
    if not keys:
        raise ConfigurationError(
            f"{option}={path!r} has no private key in it.  Give it as PEM, with key_file=... or in cert_file."
        )
    label, key = keys[0]
    if "ENCRYPTED" in label or b"ENCRYPTED" in key:
        raise ConfigurationError(
            f"{option}={path!r} has a key with a passphrase.  Give one without, in a file that nobody else can read."
        )
    try:
        # pyOpenSSL takes these as they are; Twisted's own classes hold the ones that it calls deprecated.
        options: dict[str, Any] = {"privateKey": load_pem_private_key(key, None), "certificate": own, "extraCertChain": chain}
        _ = CertificateOptions(**options).getContext()
    except Exception as error:
        raise ConfigurationError(
            f"the key in {option}={path!r} is broken, or not that of the certificate in cert_file={address.cert_file!r}.  Give "
            f"both parts of one pair."
        ) from error
    return options
