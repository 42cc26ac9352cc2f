"""Encrypted connections, and what is said where one does not come about."""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_twisted
from twisted.logger import capturedLogs, formatEvent

from tests.amqp.broker import OwnBroker
from tests.amqp.test_conditions import Heard, running


def with_options(url: str, **options: Path | str) -> str:
    return f"{url}?" + "&".join(f"{name}={quote(str(value), safe='')}" for name, value in options.items())


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """An authority that has not signed the broker's certificate."""
    path = tmp_path / "stranger.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", str(tmp_path / "stranger.key")]
    subprocess.run(["openssl", "req", "-x509", *key, "-subj", "/CN=stranger", "-out", str(path)], check=True, capture_output=True)
    return path


@pytest_twisted.ensureDeferred
async def test_with_the_right_authority_events_come_through(broker: OwnBroker, amqps_url: str, exchange: str) -> None:
    heard = Heard()
    async with running(with_options(amqps_url, ca_file=broker.ca_file), exchange) as (transport, states):
        await transport.subscribe("group", heard)
        await transport.publish({"a": "x" * 100_000})
        await heard.have(1)
        assert heard.events == [{"a": "x" * 100_000}]
        assert [change.state for change in states.told] == ["up"]


@pytest_twisted.ensureDeferred
async def test_a_name_of_its_own_is_looked_for_in_the_certificate(broker: OwnBroker, amqps_url: str, exchange: str) -> None:
    by_address = amqps_url.replace("localhost", "127.0.0.1")
    async with running(with_options(by_address, ca_file=broker.ca_file, server_name="localhost"), exchange) as (_, states):
        await states.become("up")


@pytest.mark.parametrize("authority", ["another one", "those of the system"])
@pytest_twisted.ensureDeferred
async def test_an_authority_that_is_not_ours_is_refused(
    broker: OwnBroker, amqps_url: str, exchange: str, stranger: Path, authority: str
) -> None:
    url = with_options(amqps_url, ca_file=stranger) if authority == "another one" else amqps_url
    async with running(url, exchange) as (_, states):
        reason = (await states.become("down")).reason
        assert f"the broker at localhost:{broker.tls_port} shows a certificate that is not trusted" in reason
        assert "ca_file" in reason


@pytest_twisted.ensureDeferred
async def test_a_certificate_for_another_host_is_refused(broker: OwnBroker, amqps_url: str, exchange: str) -> None:
    url = with_options(amqps_url, ca_file=broker.ca_file, server_name="broker.example.com")
    async with running(url, exchange) as (_, states):
        reason = (await states.become("down")).reason
        assert f"the broker at localhost:{broker.tls_port} shows a certificate that is not for 'broker.example.com'" in reason
        assert "server_name" in reason


@pytest_twisted.ensureDeferred
async def test_tls_where_there_is_none(broker: OwnBroker, vhost: str, exchange: str) -> None:
    url = broker.url(vhost, tls=True).replace(str(broker.tls_port), str(broker.port))
    async with running(with_options(url, ca_file=broker.ca_file), exchange) as (_, states):
        reason = (await states.become("down")).reason
        assert f"localhost:{broker.port} does not speak TLS" in reason
        assert "amqp://" in reason


@pytest_twisted.ensureDeferred
async def test_no_tls_where_it_is_needed(broker: OwnBroker, vhost: str, exchange: str) -> None:
    url = broker.url(vhost).replace(str(broker.port), str(broker.tls_port))
    with capturedLogs() as logged:
        async with running(url, exchange) as (_, states):
            reason = (await states.become("down")).reason
            assert f"127.0.0.1:{broker.tls_port} does not speak AMQP" in reason
            assert "amqps://" in reason
    assert not [event for event in logged if "Unhandled" in formatEvent(event)]
