"""Brokers of our own, and places in them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest

from tests.amqp.broker import BrokerMissing, OwnBroker, scripts

_NUMBERS = itertools.count(1)


def need_rabbitmq() -> None:
    """Skips a test where no RabbitMQ is installed; where changes are checked, that is an error."""
    try:
        scripts()
    except BrokerMissing as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """The node that the tests share, with TLS: it takes seconds to start.  Tests leave it running."""
    need_rabbitmq()
    with OwnBroker(tmp_path_factory.mktemp("amqp"), tls=True) as broker:
        yield broker


@pytest.fixture
def vhost(broker: OwnBroker) -> Iterator[str]:
    """The name of an empty virtual host of the shared node; what a test makes there goes with it."""
    name = f"evproc_{os.getpid()}_{next(_NUMBERS)}"
    broker.add_vhost(name)
    yield name
    broker.delete_vhost(name)


@pytest.fixture
def amqp_url(broker: OwnBroker, vhost: str) -> str:
    """The URL of an empty virtual host."""
    return broker.url(vhost)


@pytest.fixture
def amqps_url(broker: OwnBroker, vhost: str) -> str:
    """The URL of an empty virtual host, by TLS; the certificate's authority stands in ``broker.ca_file``."""
    return broker.url(vhost, tls=True)


@pytest.fixture
def exchange() -> str:
    """A name that no other test uses."""
    return f"evproc_{os.getpid()}_{next(_NUMBERS)}"


@pytest.fixture(scope="module")
def module_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    """See :func:`own_broker`, which tests take."""
    need_rabbitmq()
    broker = OwnBroker(tmp_path_factory.mktemp("amqp"))
    yield broker
    broker.close()


@pytest.fixture
def own_broker(module_broker: OwnBroker) -> OwnBroker:
    """A node that a test may kill: it runs when the test begins, however the one before it in the module left it."""
    if not module_broker.running:
        module_broker.spawn()
    module_broker.wait()
    return module_broker
