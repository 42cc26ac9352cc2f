"""A transport as a service: any that keeps the contract; a broker is not needed for starting and stopping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import succeed

from twisted_evproc.errors import ConfigurationError
from twisted_evproc.service import DispatcherService, ServiceStack, TransportService

if TYPE_CHECKING:
    from .conftest import Utility


def test_it_starts_and_stops_its_transport(utility: Utility) -> None:
    service = TransportService(utility, stop_timeout=7, name="broker")

    service.startService()
    utility.started.callback(None)
    stopping = service.stopService()

    assert service.transport is utility
    assert service.name == "broker"
    assert utility.calls == ["start utility", "stop utility within 7"]
    assert not stopping.called
    utility.stopped.callback(None)
    assert stopping.called


def test_in_a_stack_it_is_stopped_before_the_dispatcher_that_it_feeds(make_ready: type[Utility]) -> None:
    calls: list[str] = []
    dispatcher, transport = make_ready("dispatcher", calls), make_ready("transport", calls)
    stack = ServiceStack(DispatcherService(dispatcher), TransportService(transport))

    stack.startService()
    stopping = stack.stopService()

    assert calls == ["start dispatcher", "start transport", "stop transport"]
    transport.stopped.callback(None)
    assert calls[3:] == ["stop dispatcher"]
    dispatcher.stopped.callback(None)
    assert stopping.called


def test_what_is_no_transport_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="TransportService needs an object that provides IBackgroundUtility"):
        TransportService(succeed(None))
