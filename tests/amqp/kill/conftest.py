"""What is killed, and a proxy that cuts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.amqp.broker import OwnBroker
from tests.amqp.kill.world import World


@pytest.fixture
def world(own_broker: OwnBroker, exchange: str, tmp_path: Path) -> Iterator[World]:
    """An exchange on a broker that may be killed."""
    world = World(own_broker, exchange, tmp_path)
    yield world
    world.close()
