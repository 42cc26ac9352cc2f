from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from twisted_evproc.amqp._url import Address, endpoint_for, parse_url
from twisted_evproc.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.amqp.broker import OwnBroker

ROOT = Path(__file__).parent.parent.parent
HAS_TLS = all(map(importlib.util.find_spec, ("OpenSSL", "service_identity")))


@pytest.fixture
def tls() -> None:
    if not HAS_TLS:
        if os.environ.get("CI") == "true":
            raise ImportError("pyOpenSSL and service_identity are needed here")
        pytest.skip("pyOpenSSL and service_identity are not installed")


class TestParsing:
    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("amqp://h", Address("h")),
            ("amqp://h/", Address("h")),
            ("amqp://h/%2F", Address("h")),
            ("amqp://h/%2f", Address("h")),
            ("amqp://h//", Address("h")),
            ("amqp://h:", Address("h")),
            ("AMQP://Example.COM:1", Address("example.com", 1)),
            ("amqps://h", Address("h", 5671, tls=True)),
            ("amqps://h:65535/v", Address("h", 65535, "v", tls=True)),
            ("amqp://u:p@h:5/v", Address("h", 5, "v", "u", "p")),
            ("amqp://u:@h", Address("h", user="u", password="")),
            ("amqp://u%3A:p%40%2F%25%3A%C3%A9@h/a%2Fb%40", Address("h", 5672, "a/b@", "u:", "p@/%:é")),
            ("amqp://u:a:b@c@h", Address("h", user="u", password="a:b@c")),
            ("amqp://[::1]:5673/v", Address("::1", 5673, "v")),
            ("amqps://[2001:DB8::1]", Address("2001:db8::1", 5671, tls=True)),
            ("amqps://h?server_name=b.example", Address("h", 5671, tls=True, server_name="b.example")),
            ("amqps://h/v?server_name=a+b&", Address("h", 5671, "v", tls=True, server_name="a+b")),
        ],
    )
    def test_urls(self, url: str, address: Address) -> None:
        assert parse_url(url) == address

    def test_files(self, tmp_path: Path) -> None:
        names = {}
        for option in ("ca_file", "cert_file", "key_file"):
            names[option] = str(tmp_path / f"{option}+x.pem")
            Path(names[option]).touch()
        query = "&".join(f"{option}={path}" for option, path in names.items())

        assert parse_url(f"amqps://h/v?{query}") == Address("h", 5671, "v", tls=True, **names)

    @pytest.mark.parametrize(
        ("address", "text"),
        [
            (Address("h"), "guest@h:5672/"),
            (Address("::1", 5, "a/b", "u:", "secret"), "u%3A@[::1]:5/a%2Fb"),
        ],
    )
    def test_as_text_it_has_no_password(self, address: Address, text: str) -> None:
        assert str(address) == text
        assert "secret" not in repr(address) and "guest'" in repr(Address("h")) and "password" not in repr(Address("h"))

    @given(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    )
    def test_every_user_and_password_can_be_written(self, user: str, password: str) -> None:
        address = parse_url(f"amqp://{quote(user, safe='')}:{quote(password, safe='')}@h/")

        assert (address.user, address.password) == (user, password)


class TestRefusals:
    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("", "has to begin with amqp:// or amqps://"),
            ("h:5672", "has to begin with amqp:// or amqps://"),
            ("http://u:secret@h", "has to begin with amqp:// or amqps://, not http://"),
            ("u:secret@h", "and has no scheme that is known"),
            ("secret/x://h", "and has no scheme that is known"),
            ("amqp:u:secret@h", "has to begin with"),
            ("amqp://", "has to name a host"),
            ("amqp:///v", "has to name a host"),
            ("amqp://u:secret@/v", "has to name a host, .* this machine is localhost"),
            ("amqp://u:secret@a%20b", "has to name a host"),
            ("amqp://u:secret@h:0", "a port from 1 to 65535"),
            ("amqp://u:secret@h:65536", "a port from 1 to 65535"),
            ("amqp://u:secret@h:-1", "a port from 1 to 65535"),
            ("amqp://u:secret@h:x", "a port from 1 to 65535"),
            ("amqp://u:secret@::1", "an address of IPv6 in brackets"),
            ("amqp://u:secret@[::1", "one of IPv6 in brackets"),
            ("amqp://u:secret@[nonsense]", "one of IPv6 in brackets"),
            ("amqp://u:[secret@h", "write .* in the password as %5B"),
            ("amqp://u:secret/x@h", "'/', '\\?', '#' and '@' in the password"),
            ("amqp://u:5/secret@h", "'/', '\\?', '#' and '@' in the password"),
            ("amqp://u:5?secret@h", "'/', '\\?', '#' and '@' in the password"),
            ("amqp://u:5#secret@h", "'/', '\\?', '#' and '@' in the password"),
            ("amqp://u:se%cret@h", "a '%' without two hexadecimal digits .* Write '%' itself as %25"),
            ("amqp://u:secret%ff@h", "the password in the broker's URL is not UTF-8"),
            ("amqp://u:secret%00@h", "the password in the broker's URL has a NUL"),
            ("amqp://u%00:secret@h", "the user in the broker's URL has a NUL"),
            ("amqp://u:secret@h/%00", "the virtual host in the broker's URL has a NUL"),
            ("amqp://u:secret@h\n", "a space, a control character or a line break.* Take it out"),
            ("amqp://u:sec ret@h", "a space, a control character"),
            ("amqp://u:sec\0ret@h", "a space, a control character"),
            ("amqp://secret@h", "has to have a user and a password in front of the '@'"),
            ("amqp://:secret@h", "has to have a user and a password in front of the '@'"),
            ("amqp://u:secret@h/a/b", "the virtual host 'a/b' .* has a '/' in it.  Write it as %2F"),
            ("amqp://u:secret@h/" + "v" * 256, "more than 255 bytes"),
            (
                "amqps://u:secret@h?heartbeat=5",
                "the option 'heartbeat' .* is not known; there are ca_file, cert_file, key_file, server_name",
            ),
            ("amqps://u:secret@h?server_name=a&server_name=b", "the option server_name stands .* twice.  Give it once"),
            ("amqps://u:secret@h?server_name", "the option server_name .* is empty.  Give it a value"),
            ("amqp://u:secret@h?server_name=a", "server_name .* has no meaning without TLS.  Begin the URL with amqps://"),
            ("amqps://u:secret@h?key_file=/k", "key_file='/k' .* needs its certificate.  Give cert_file, too"),
            ("amqps://u:secret@h?ca_file=/not/there", "ca_file='/not/there' .* is no file.  Correct the path"),
            ("amqps://u:secret@h?ca_file=/", "ca_file='/' .* is no file"),
        ],
    )
    def test_the_error_says_what_to_do_and_shows_no_password(self, url: str, words: str) -> None:
        with pytest.raises(ConfigurationError, match=words) as caught:
            parse_url(url)
        assert "secret" not in str(caught.value) and "sec" not in str(caught.value)
        assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)

    @pytest.mark.parametrize("url", [None, b"amqp://u:secret@h", 5])
    def test_what_is_no_text(self, url: Any) -> None:
        with pytest.raises(ConfigurationError, match="has to be text such as .*, not (NoneType|bytes|int)$"):
            parse_url(url)


class Greeting(Protocol):
    """What a broker answers to the first eight bytes."""

    def __init__(self) -> None:
        self.received = b""
        self.answered: Deferred[bytes] = Deferred()
        self.lost: Deferred[BaseException | None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"AMQP\0\0\x09\x01")

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if len(self.received) >= 11 and not self.answered.called:
            self.answered.callback(self.received[:11])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answered.called:
            self.answered.callback(b"")
        self.lost.callback(reason.value)


async def greet(address: Address, reactor: Any) -> tuple[bytes, BaseException | None]:
    protocol = await connectProtocol(endpoint_for(address, reactor, 30), Greeting())
    answer = await protocol.answered
    if answer:
        protocol.transport.abortConnection()
    return answer, await protocol.lost


def is_start(answer: bytes) -> bool:
    """Whether it is the frame connection.start on channel 0."""
    return len(answer) == 11 and answer[:3] == b"\x01\0\0" and answer[7:] == b"\0\x0a\0\x0a"


def certificate(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    """A certificate and its key, made with OpenSSL."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2", "-subj", f"/CN={name}"]
    made = subprocess.run(
        ["openssl", "req", "-x509", *new, *(options or ["-noenc"]), "-keyout", str(key), "-out", str(certificate)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return certificate, key


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


class TestEndpoints:
    @pytest_twisted.ensureDeferred
    async def test_it_leads_to_the_broker(self, amqp_url: str, reactor: Any) -> None:
        answer, _ = await greet(parse_url(amqp_url), reactor)

        assert is_start(answer)

    @pytest.mark.usefixtures("tls")
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    @pytest_twisted.ensureDeferred
    async def test_it_leads_there_by_tls(self, broker: OwnBroker, reactor: Any, host: str) -> None:
        url = f"amqps://{host}:{broker.tls_port}?ca_file={broker.ca_file}"

        answer, _ = await greet(parse_url(url), reactor)

        assert is_start(answer)

    @pytest.mark.usefixtures("tls")
    @pytest_twisted.ensureDeferred
    async def test_with_a_certificate_of_its_own(self, broker: OwnBroker, reactor: Any, tmp_path: Path) -> None:
        own, key = certificate(tmp_path, "own")
        url = f"amqps://localhost:{broker.tls_port}?ca_file={broker.ca_file}&cert_file={own}&key_file={key}"

        answer, _ = await greet(parse_url(url), reactor)

        assert is_start(answer)

    @pytest.mark.usefixtures("tls")
    @pytest.mark.parametrize("wrong", ["server_name=other.example", "server_name=127.0.0.2", "ca_file"])
    @pytest_twisted.ensureDeferred
    async def test_it_trusts_nobody_else(self, broker: OwnBroker, reactor: Any, tmp_path: Path, wrong: str) -> None:
        ca_file = certificate(tmp_path, "other")[0] if wrong == "ca_file" else broker.ca_file
        name = "" if wrong == "ca_file" else f"&{wrong}"
        address = parse_url(f"amqps://localhost:{broker.tls_port}?ca_file={ca_file}{name}")

        answer, reason = await greet(address, reactor)

        assert answer == b""
        assert "erif" in repr(reason)  # VerificationError, or OpenSSL's "certificate verify failed"

    @pytest.mark.usefixtures("tls")
    @pytest.mark.parametrize(
        ("option", "content", "words"),
        [
            ("ca_file", b"nothing", "ca_file=.* has no certificate in it.  Give one as PEM"),
            (
                "ca_file",
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "ca_file=.* has a certificate that is broken",
            ),
            ("cert_file", b"", "cert_file=.* has no certificate in it"),
            ("key_file", b"", "key_file=.* has no private key in it.  Give it as PEM"),
            (
                "key_file",
                b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                "the key in key_file=.* is broken, or not that of",
            ),
        ],
    )
    def test_files_that_are_no_good(self, tmp_path: Path, reactor: Any, option: str, content: bytes, words: str) -> None:
        own, key = certificate(tmp_path, "own")
        bad = tmp_path / "bad.pem"
        bad.write_bytes(content)
        files: dict[str, Any] = {"ca_file": str(own), "cert_file": str(own), "key_file": str(key), option: str(bad)}

        with pytest.raises(ConfigurationError, match=words) as caught:
            endpoint_for(Address("h", tls=True, **files), reactor, 30)
        assert str(bad) in str(caught.value)

    @pytest.mark.usefixtures("tls")
    def test_a_key_of_another_certificate(self, tmp_path: Path, reactor: Any) -> None:
        own, other = certificate(tmp_path, "own")[0], certificate(tmp_path, "other")[1]

        with pytest.raises(ConfigurationError, match="key_file=.* is broken, or not that of the certificate"):
            endpoint_for(Address("h", tls=True, cert_file=str(own), key_file=str(other)), reactor, 30)

    @pytest.mark.usefixtures("tls")
    def test_a_key_with_a_passphrase(self, tmp_path: Path, reactor: Any) -> None:
        own, key = certificate(tmp_path, "own", "-passout", "pass:secret")

        with pytest.raises(ConfigurationError, match="key_file=.* has a key with a passphrase.  Give one without"):
            endpoint_for(Address("h", tls=True, cert_file=str(own), key_file=str(key)), reactor, 30)

    @pytest.mark.usefixtures("tls")
    def test_certificate_and_key_in_one_file_with_what_leads_to_it(self, tmp_path: Path, reactor: Any) -> None:
        own, key = certificate(tmp_path, "own")
        other, _ = certificate(tmp_path, "other")
        both = tmp_path / "both.pem"
        both.write_bytes(own.read_bytes() + other.read_bytes() + key.read_bytes())

        assert endpoint_for(Address("h", tls=True, cert_file=str(both)), reactor, 30) is not None
        with pytest.raises(ConfigurationError, match="cert_file=.* has no private key in it"):
            endpoint_for(Address("h", tls=True, cert_file=str(own)), reactor, 30)

    @pytest.mark.usefixtures("tls")
    def test_a_file_that_is_gone(self, tmp_path: Path, reactor: Any) -> None:
        with pytest.raises(ConfigurationError, match="ca_file='.*gone' cannot be read: No such file.*  Correct the path"):
            endpoint_for(Address("h", tls=True, ca_file=str(tmp_path / "gone")), reactor, 30)


#: As much of a reactor as an endpoint looks at before it connects.
RESOLVING_CLOCK = """
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.task import Clock
from zope.interface import implementer

@implementer(IReactorPluggableNameResolver)
class ResolvingClock(Clock):
    nameResolver = None

"""


def run_python(program: str) -> str:
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", RESOLVING_CLOCK + dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


class TestImports:
    def test_no_reactor_is_installed(self) -> None:
        self.check_no_reactor(with_tls=False)

    @pytest.mark.usefixtures("tls")
    def test_no_reactor_is_installed_for_tls(self) -> None:
        self.check_no_reactor(with_tls=True)

    def check_no_reactor(self, *, with_tls: bool) -> None:
        program = f"""
            import sys
            from twisted_evproc.amqp._url import Address, endpoint_for
            endpoint = endpoint_for(Address("127.0.0.1", tls={with_tls}), ResolvingClock(), 30)
            if {with_tls}:
                from twisted.internet.protocol import Factory
                endpoint._wrapperFactory(Factory())
            print("twisted.internet.reactor" in sys.modules)
        """

        assert run_python(program).strip() == "False"

    def test_tls_without_its_libraries(self) -> None:
        program = """
            import sys
            sys.modules["OpenSSL"] = None
            from twisted_evproc.amqp._url import Address, endpoint_for
            from twisted_evproc.errors import MissingExtra
            endpoint_for(Address("h"), ResolvingClock(), 30)
            try:
                endpoint_for(Address("h", tls=True), ResolvingClock(), 30)
            except MissingExtra as error:
                print(error.extra, error)
        """

        assert run_python(program).strip() == (
            "amqp TLS (amqps://) needs a library that is not installed; install twisted_evproc[amqp]."
        )
