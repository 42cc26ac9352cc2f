"""Which requests a webhook takes, and what is said to the others."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from .._json import decode
from ..errors import ConfigurationError

#: After how many seconds a client that was told to come again is to do so.
RETRY_SECONDS = 5

#: Names of this machine, for its own programs.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")

MAX_BODY_BYTES = 65_536

#: More of what a client sent is not told back to it.
MAX_ECHOED = 80

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.IGNORECASE)
#: A target in absolute form.  Servers have to take it, and its host outdoes the header.  Source: RFC 9112, 3.2.2.
_URL = re.compile(r"https?://(?P<host>[^/?]*)(?P<local>.*)", re.IGNORECASE | re.DOTALL)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(r"/[!-\"$->@-~]*")
_JSON_TYPE = re.compile(r"application/(?:[!#$&^_.+a-z0-9-]+\+)?json", re.IGNORECASE)
_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}", re.IGNORECASE)


class Headers(Mapping[str, str]):
    """
    The headers of a request.

    Upper and lower case of their names are the same; the values of a repeated one are joined by commas.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, tuple[str, list[str]]] = {}
        for name, value in pairs:
            self._values.setdefault(name.lower(), (name, []))[1].append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()][1])

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._values.values())

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a header, in order."""
        return tuple(self._values.get(name.lower(), ("", ()))[1])

    def __repr__(self) -> str:
        return f"<Headers {', '.join(self)}>"


@attrs.frozen
class Head:
    """
    A request without its body.

    :ivar target: path and query, as they were sent; behind a scheme and a host, where the client sent a whole URL.
    :ivar length: of the body in bytes; ``None`` when it comes in chunks.
    :ivar client: who sent it.
    """

    method: str
    target: str
    headers: Headers
    length: int | None
    client: str

    @property
    def path(self) -> str:
        """Without the query."""
        return self._local.partition("?")[0]

    @property
    def query(self) -> str:
        """After the question mark."""
        return self._local.partition("?")[2]

    @property
    def host(self) -> str:
        """Whom the client calls: as the URL says, where it sent a whole one, otherwise the ``Host`` header."""
        url = _URL.fullmatch(self.target)
        return url["host"] if url else self.headers.get("Host", "")

    @property
    def _local(self) -> str:
        url = _URL.fullmatch(self.target)
        if url is None:
            return self.target
        return url["local"] if url["local"].startswith("/") else f"/{url['local']}"


@attrs.frozen
class Answer:
    """
    What a client is told.

    :ivar status: the HTTP status code.
    :ivar text: what is wrong and what to do about it, in words.
    :ivar headers: beside those that every answer has.
    """

    status: int
    text: str
    headers: tuple[tuple[str, str], ...] = ()


ACCEPTED = Answer(202, "Accepted: the event is queued.")
UNUSABLE = Answer(500, "The event could not be used on our side; those who run this service have been told why.")
FAILED = Answer(500, "This went wrong on our side, and is in our log.  The event was not queued.")
STOPPING = Answer(503, "This service stops.  The event was not queued: send it again.", (("Retry-After", str(RETRY_SECONDS)),))


def come_again(why: str) -> Answer:
    """An answer for what may work later."""
    return Answer(503, f"{why}  The event was not queued: send it again.", (("Retry-After", str(RETRY_SECONDS)),))


def bad_request(why: str) -> Answer:
    """An answer for what is no request at all."""
    return Answer(400, why)


def too_large(limit: int) -> Answer:
    """An answer for a body above the limit."""
    return Answer(413, f"The body is too large: no more than {limit} bytes are taken.  Send less, or have max_body_bytes raised.")


def echo(text: str) -> str:
    """What a client sent, fit to be told back: short, and without what could mean something to a terminal or a browser."""
    shown = ascii(text if len(text) <= MAX_ECHOED else f"{text[:MAX_ECHOED]}...")
    return re.sub("[<>&]", "?", shown)


class Refused(Exception):
    """
    A request that is not taken.

    :ivar answer: what its client is told.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(answer.text)


@attrs.frozen
class Rules:
    """
    What is wrong with a request, if anything.

    :ivar path: the one path that takes events.
    :ivar hosts: names by which clients may call the server.
    :ivar secret: that bodies are signed with, if they have to be.
    :ivar signature_header: where the signature stands.
    :ivar max_body_bytes: of a body.
    """

    path: str
    hosts: tuple[str, ...]
    secret: bytes | None = attrs.field(repr=False)
    signature_header: str
    max_body_bytes: int

    def refusal(self, head: Head) -> Answer | None:
        """What is wrong with a request, as far as that shows before its body; ``None`` for nothing."""
        return (
            self._wrong_host(head)
            or self._wrong_target(head)
            or self._wrong_origin(head)
            or self._wrong_type(head)
            or self._wrong_length(head)
            or self._wrong_signature_form(head)
        )

    def _wrong_host(self, head: Head) -> Answer | None:
        hosts = head.headers.all("Host")
        if len(hosts) != 1:
            return bad_request(f"The request has {len(hosts) or 'no'} Host headers: send one.")
        host = head.host
        named = _HOST.fullmatch(host)
        if named is None:
            where = "Host header" if host == hosts[0] else "URL's host"
            return bad_request(f"The {where} {echo(host)} names no host.")
        if named["name"].lower() in self.hosts:
            return None
        return Answer(421, f"There is no {echo(host)} here: call one of {', '.join(self.hosts)}, or have it added to hosts.")

    def _wrong_target(self, head: Head) -> Answer | None:
        if head.path != self.path:
            return Answer(404, f"There is nothing at {echo(head.path)}: post to {self.path}.")
        if head.method != "POST":
            return Answer(405, f"{echo(head.method)} is not for this: use POST.", (("Allow", "POST"),))
        return None

    def _wrong_origin(self, head: Head) -> Answer | None:
        host = head.host.lower()
        for origin in head.headers.all("Origin"):
            if origin.lower() not in (f"http://{host}", f"https://{host}"):
                return Answer(403, f"This is no place for web pages, and {echo(origin)} is one: leave out the Origin header.")
        return None

    def _wrong_type(self, head: Head) -> Answer | None:
        codings = head.headers.all("Content-Encoding")
        if any(coding.lower() != "identity" for coding in codings):
            return Answer(
                415, f"The body is encoded as {echo(', '.join(codings))}: send it as it is.", (("Accept-Encoding", "identity"),)
            )
        types = head.headers.all("Content-Type")
        if len(types) == 1 and _is_json(types[0]):
            return None
        found = f"is {echo(', '.join(types))}" if types else "is missing"
        return Answer(415, f"The Content-Type {found}: send application/json, in UTF-8.", (("Accept-Post", "application/json"),))

    def _wrong_length(self, head: Head) -> Answer | None:
        if head.length is None:
            return None
        if not head.headers.all("Content-Length"):
            return Answer(411, "The request does not say how long its body is: send Content-Length.")
        return too_large(self.max_body_bytes) if head.length > self.max_body_bytes else None

    def _wrong_signature_form(self, head: Head) -> Answer | None:
        if self.secret is None:
            return None
        found = head.headers.all(self.signature_header)
        if len(found) == 1 and _SIGNATURE.fullmatch(found[0]):
            return None
        return self._unsigned(
            f"{self.signature_header} is not 'sha256=' and 64 hexadecimal digits"
            if found
            else f"{self.signature_header} is missing"
        )

    def _unsigned(self, why: str) -> Answer:
        challenge = f'HMAC-SHA256 header="{self.signature_header}"'
        return Answer(
            401,
            f"The request is not signed as it has to be: {why}.  Sign the body with the secret that both sides share.",
            (("WWW-Authenticate", challenge),),
        )

    def value(self, head: Head, body: bytes) -> Any:
        """
        The JSON value of a request of which :meth:`refusal` had nothing to say.

        :raises Refused: for what is none, or is not signed by whoever shares the secret.
        """
        if self.secret is not None and not _is_signed(head.headers.get(self.signature_header, ""), self.secret, body):
            raise Refused(self._unsigned(f"{self.signature_header} has not the digest of this body under our secret"))
        try:
            return decode(body.decode("utf-8"))
        except UnicodeDecodeError as error:
            problem = f"The body is no UTF-8: byte {error.start + 1} of {len(body)} cannot be read."
        except json.JSONDecodeError as error:
            problem = f"The body is no JSON: {error.msg} in line {error.lineno}, column {error.colno}."
        except ValueError as error:
            problem = f"The body is no JSON that can be taken: {echo(str(error))}."
        raise Refused(bad_request(problem))


def _is_signed(found: str, secret: bytes, body: bytes) -> bool:
    wanted = f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"
    return hmac.compare_digest(found.lower().encode("latin-1", "replace"), wanted.encode("ascii"))


def _is_json(content_type: str) -> bool:
    kind, *parameters = content_type.split(";")
    if _JSON_TYPE.fullmatch(kind.strip()) is None:
        return False
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in ("utf-8", "utf8", "us-ascii"):
            return False
    return True


def check_path(path: Any) -> str:
    """
    A path of requests.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    if isinstance(path, str) and _PATH.fullmatch(path):
        return path
    raise ConfigurationError(f"path={path!r} has to begin with a slash, percent-encoded and without a query, such as '/hooks'")


def check_hosts(hosts: Any) -> tuple[str, ...]:
    """
    Names of hosts, in lower case and without their ports; ``None`` gives those of this machine.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    if hosts is None:
        return LOCAL_HOSTS
    if isinstance(hosts, str | bytes) or not isinstance(hosts, Iterable):
        raise ConfigurationError(f"hosts={hosts!r} has to be a list or a tuple of names, such as ('hooks.example.org',)")
    names = tuple(hosts)
    named = [_HOST.fullmatch(name) if isinstance(name, str) else None for name in names]
    if not names or not all(named):
        raise ConfigurationError(f"hosts={names!r} has to be names of hosts, one or more, such as ('hooks.example.org',)")
    return tuple(match["name"].lower() for match in named if match)


def check_secret(secret: Any) -> bytes | None:
    """
    A secret as bytes, or ``None``.

    :raises twisted_evproc.errors.ConfigurationError: for anything else; what was given is not shown.
    """
    if secret is None:
        return None
    if not isinstance(secret, str | bytes) or not secret:
        raise ConfigurationError(
            f"secret is {'empty' if isinstance(secret, str | bytes) else type(secret).__name__}: it has to be a text or bytes "
            f"that both sides know (is the environment variable set?), or None to take what is not signed"
        )
    return secret.encode("utf-8") if isinstance(secret, str) else secret


def check_header_name(name: Any, option: str) -> str:
    """
    The name of a header.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    if isinstance(name, str) and _TOKEN.fullmatch(name):
        return name
    raise ConfigurationError(f"{option}={name!r} is no name of a header, such as 'X-Hub-Signature-256'")
