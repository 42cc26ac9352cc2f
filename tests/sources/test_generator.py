"""What polled sources are made of."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from twisted_evproc.interfaces import IEventGenerator
from twisted_evproc.sources import EventGenerator


def test_by_itself_it_has_no_events_and_stops() -> None:
    generator = EventGenerator()

    assert generator.get_events() == []
    assert generator.stop() is None
    assert str(generator) == "EventGenerator"
    assert verifyObject(IEventGenerator, generator)


def test_a_subclass_is_named_after_its_class() -> None:
    class Weather(EventGenerator):
        pass

    assert str(Weather()) == "Weather"
