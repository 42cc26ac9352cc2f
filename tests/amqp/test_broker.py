"""Whether the tests' own broker is what they take it for."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika  # a client that is not ours
import pytest

from tests.amqp.broker import BrokerFailed, BrokerMissing, OwnBroker, answers, free_ports, scripts
from tests.amqp.conftest import need_rabbitmq

QUORUM = {"x-queue-type": "quorum"}


@contextmanager
def connect(url: str, context: ssl.SSLContext | None = None) -> Iterator[Any]:
    parameters = pika.URLParameters(url)
    if context:
        parameters.ssl_options = pika.SSLOptions(context, "localhost")
    connection = pika.BlockingConnection(parameters)
    try:
        yield connection
    finally:
        # A test may have killed the broker.
        if connection.is_open:
            connection.close()


def refused(url: str, context: ssl.SSLContext | None = None) -> None:
    with connect(url, context):
        pytest.fail(f"{url} was let in")


def wait_for(connection: Any, happened: Callable[[], object]) -> None:
    """Handles what the connection receives until something has happened; pytest ends a test that hangs."""
    while not happened():
        connection.process_data_events(time_limit=None)


@pytest.fixture
def alarming(broker: OwnBroker) -> Iterator[OwnBroker]:
    yield broker
    broker.alarm(False)


def test_rabbitmq_answers(broker: OwnBroker, amqp_url: str) -> None:
    assert answers(broker.port)
    with connect(amqp_url) as connection:
        connection.channel().queue_declare("q", durable=True, arguments=QUORUM)
    assert "beam.smp" in broker.processes()[broker.pid]


def test_each_test_has_a_virtual_host_that_is_empty_and_removed(broker: OwnBroker, vhost: str) -> None:
    names = [f"{vhost}_a", f"{vhost}_b"]
    for name in names:
        broker.add_vhost(name)
        with connect(broker.url(name)) as connection:
            channel = connection.channel()
            with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue 'q'"):
                channel.queue_declare("q", passive=True)
            connection.channel().queue_declare("q", durable=True, arguments=QUORUM)
    assert set(names) | {vhost} < set(broker.ctl("list_vhosts").split())
    for name in names:
        broker.delete_vhost(name)
    assert not set(names) & set(broker.ctl("list_vhosts").split())
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError, match=f"vhost {names[0]} not found"):
        refused(broker.url(names[0]))


def test_other_users(broker: OwnBroker, vhost: str) -> None:
    broker.ctl("add_user", "an/na", "p@ss")
    broker.ctl("set_permissions", "-p", vhost, "an/na", ".*", ".*", ".*")
    with connect(broker.url(vhost, "an/na", "p@ss")) as connection:
        assert connection.is_open
    broker.ctl("delete_user", "an/na")
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        refused(broker.url(vhost, "an/na", "p@ss"))


def test_what_was_confirmed_survives_a_kill(own_broker: OwnBroker) -> None:
    pid = own_broker.pid
    with connect(own_broker.url()) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True, arguments=QUORUM)
        own_broker.settle()
        channel.basic_publish("", "kept", b"message", pika.BasicProperties(delivery_mode=2), mandatory=True)
        own_broker.kill()
        assert not own_broker.running
        assert not answers(own_broker.port)
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            wait_for(connection, lambda: False)
    own_broker.start()
    assert own_broker.pid != pid
    with connect(own_broker.url()) as connection:
        channel = connection.channel()
        channel.queue_declare("kept", durable=True, arguments=QUORUM)
        assert channel.basic_get("kept", auto_ack=True)[2] == b"message"


def test_stopped_in_good_order_it_starts_again(own_broker: OwnBroker) -> None:
    own_broker.stop()
    assert not own_broker.running
    assert len(own_broker.processes()) == 1  # epmd
    own_broker.start()
    assert answers(own_broker.port)


def test_it_is_not_started_twice(own_broker: OwnBroker) -> None:
    with pytest.raises(BrokerFailed, match="runs already"):
        own_broker.spawn()


def test_a_publisher_hears_of_the_memory_alarm(alarming: OwnBroker, amqp_url: str) -> None:
    with connect(amqp_url) as connection:
        heard: list[str] = []
        connection.add_on_connection_blocked_callback(lambda _, method: heard.append(method.method.reason))
        connection.add_on_connection_unblocked_callback(lambda *_: heard.append("lifted"))
        channel = connection.channel()
        channel.queue_declare("q")
        alarming.alarm(True)
        channel.basic_publish("", "q", b"message")
        wait_for(connection, lambda: heard)
        assert heard == ["low on memory"]
        alarming.alarm(False)
        wait_for(connection, lambda: len(heard) > 1)
        assert heard == ["low on memory", "lifted"]


def test_tls_is_trusted_by_its_authority_only(broker: OwnBroker, amqps_url: str) -> None:
    with connect(amqps_url, ssl.create_default_context(cafile=str(broker.ca_file))) as connection:
        assert connection.is_open
    with pytest.raises(ssl.SSLCertVerificationError):
        refused(amqps_url, ssl.create_default_context())


def test_nothing_is_left(tmp_path: Path) -> None:
    need_rabbitmq()
    with OwnBroker(tmp_path) as broker:
        before = broker.processes()
        assert {broker.pid} < set(before)
        assert any("epmd" in command for command in before.values())
        # Killed, it leaves none of its helpers behind either.
        broker.kill()
        assert len(broker.processes()) == 1
        broker.spawn()
    assert broker.processes() == {}
    assert list(tmp_path.iterdir()) == []
    for pid in before:
        assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", broker.port))


def test_a_node_that_cannot_start_says_why(tmp_path: Path) -> None:
    need_rabbitmq()
    broker = OwnBroker(tmp_path)
    (broker.folder / "rabbitmq.conf").write_text("no.such.setting = 1\n")
    with pytest.raises(BrokerFailed, match=r"ended instead of listening(.|\n)*no\.such\.setting"), broker:
        pass
    assert broker.processes() == {}
    assert list(tmp_path.iterdir()) == []


def test_commands_that_fail_say_so(broker: OwnBroker) -> None:
    with pytest.raises(BrokerFailed, match="rabbitmqctl delete_vhost nowhere"):
        broker.ctl("delete_vhost", "nowhere")
    with pytest.raises(BrokerFailed, match="did not evaluate no_such:function"):
        broker.evaluate("no_such:function()")
    with pytest.raises(BrokerFailed, match="no_such_vhost"):
        broker.delete_vhost("nowhere")


def test_a_missing_rabbitmq_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerMissing, match="install rabbitmq-server"):
        scripts(f"{tmp_path}/rabbitmq_server-*/sbin")


def test_ports_are_free_and_given_once() -> None:
    first, second = free_ports(2), free_ports(2)
    assert len({*first, *second}) == 4
    following = second[-1] + 1
    with socket.create_server(("127.0.0.1", following)):
        assert following not in free_ports(2)
