"""The reference page of sources says what there is: every option, method, attribute and handler object, and no other."""

from __future__ import annotations

import attrs
import pytest

from tests.pages import called, options, pairs, public, table, targets, words, wrong_calls
from twisted_evproc import sources
from twisted_evproc.interfaces import IEventHandler, IEventSource
from twisted_evproc.sources import EventPump, Overflow, PumpStatistics, QueuedEvent, Tick, WebhookEvent

PAGE = "reference/sources"
READY_MADE = [
    name
    for name in sources.__all__
    if isinstance(getattr(sources, name), type) and IEventSource.implementedBy(getattr(sources, name))
]


@pytest.mark.parametrize("name", ["EventPump", *READY_MADE])
def test_every_option_with_its_default(name: str) -> None:
    assert pairs(table(PAGE, title=f"Options of ``{name}``")) == options(getattr(sources, name))


def test_every_ready_made_source() -> None:
    assert sorted(targets(table(PAGE, "Source"))) == sorted(READY_MADE)


def test_every_method_of_the_pump() -> None:
    rows = table(PAGE, title="Methods of ``EventPump``")
    assert sorted(called(rows)) == sorted(public(EventPump) | {"running"})
    assert wrong_calls(rows, EventPump) == []


def test_every_statistic() -> None:
    assert words(table(PAGE, title="What ``statistics()`` tells")) == [*attrs.fields_dict(PumpStatistics)]


def test_every_overflow() -> None:
    assert words(table(PAGE, "``overflow``")) == [*Overflow.__members__]


@pytest.mark.parametrize("values", [QueuedEvent, Tick])
def test_every_attribute(values: type) -> None:
    assert words(table(PAGE, title=f"Attributes of ``{values.__name__}``")) == [*attrs.fields_dict(values)]


def test_what_a_webhook_event_has_more() -> None:
    more = [name for name in attrs.fields_dict(WebhookEvent) if name not in attrs.fields_dict(QueuedEvent)]
    assert words(table(PAGE, title="Attributes of ``WebhookEvent``")) == more


def test_every_handler_object() -> None:
    handlers = [
        name
        for name in sources.__all__
        if isinstance(getattr(sources, name), type) and IEventHandler.implementedBy(getattr(sources, name))
    ]
    rows = table(PAGE, "Handler")
    assert sorted(called(rows)) == sorted(handlers)
    assert wrong_calls(rows, sources) == []
