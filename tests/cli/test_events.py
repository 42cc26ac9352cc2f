from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred
from twisted.internet import reactor  # noqa: TID251  the real one: threads report to it
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads

from twisted_evproc.cli._events import (
    JSONLine,
    JSONLines,
    JSONLineSplitter,
    Line,
    LineError,
    Lines,
    ReadyLine,
    ThreadReader,
    iterable_lines,
)
from twisted_evproc.errors import ApplicationError

THREADS = cast(IReactorFromThreads, reactor)


def lines_of(chunks: list[bytes], max_bytes: int = 1000) -> list[Line]:
    splitter = JSONLineSplitter(True, max_bytes)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.finish()


def problem_of(raw: bytes, only_objects: bool = True) -> LineError:
    with pytest.raises(LineError) as caught:
        JSONLine(1, raw, only_objects).record()
    return caught.value


@given(st.lists(st.sampled_from([b"{}", b"", b"  ", b'{"a": 1}'])), st.lists(st.integers(0, 60)))
def test_lines_do_not_depend_on_where_chunks_end(parts: list[bytes], cuts: list[int]) -> None:
    text = b"\n".join(parts)
    places = [0, *sorted(cuts), len(text)]
    chunks = [text[begin:end] for begin, end in pairwise(places)]
    wanted = [(number, part) for number, part in enumerate(parts, 1) if part.strip()]
    assert [(line.number, line.raw) for line in lines_of(chunks) if isinstance(line, JSONLine)] == wanted


def test_a_line_that_is_too_long_is_dropped_and_reported() -> None:
    first, second, third = lines_of([b"{}\n" + b"x" * 30, b"y" * 30, b"\n{}"], 50)
    assert (first.record(), second.number, third.record(), third.number) == ({}, 2, {}, 3)
    with pytest.raises(LineError, match="longer than 50 bytes"):
        second.record()


@pytest.mark.parametrize(
    ("raw", "column", "words"),
    [
        (b'{"a": 1,}', 9, "not JSON: Expecting property name"),
        (b'{"a": 1} x', 10, "not JSON: Extra data"),
        ('{"ä": \xff'.encode("latin-1"), 3, "not UTF-8 text"),
        (b"\xff\xfe{\x00}\x00", 1, "not UTF-8 text"),
        (b'{"a": NaN}', 1, "NaN is no JSON"),
        (b"[1]", 1, "expected one JSON object a line, not an array"),
        (b"null", 1, "not null"),
        (b"{", 2, "is this one JSON text over several lines?"),
    ],
)
def test_a_broken_line_says_where_and_what_was_expected(raw: bytes, column: int, words: str) -> None:
    problem = problem_of(raw)
    assert problem.column == column
    assert words in str(problem)
    assert "expected one JSON object a line" in str(problem)


def test_any_json_value_is_a_record_where_the_application_maps_it() -> None:
    assert JSONLine(1, b"[1]", False).record() == [1]
    assert "expected one JSON value a line" in str(problem_of(b"[1", False))


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_an_event() -> None:
    assert JSONLine(1, b'\xef\xbb\xbf{"a": 1}\r', True).record() == {"a": 1}


def collected(source: Lines) -> list[Any]:
    records: list[Any] = []
    while True:
        lines: Any = source.read()
        if isinstance(lines, Deferred):
            lines = lines.result
        if lines is None:
            return records
        records += [(line.number, line.record()) for line in lines]


def test_a_line_source_ends_with_the_last_line_even_without_newline() -> None:
    chunks = [b'{"a": 1}\n{"a"', b": 2}", b""]
    source = JSONLines("x", lambda: succeed(chunks.pop(0)), True)
    assert collected(source) == [(1, {"a": 1}), (2, {"a": 2})]
    assert source.read() is None


def test_a_line_source_that_cannot_be_read_names_the_file() -> None:
    source = JSONLines("events.jsonl", lambda: fail(OSError(5, "Input/output error")), True)
    reading = source.read()
    assert reading is not None
    caught: list[Any] = []
    reading.addErrback(caught.append)
    assert isinstance(caught[0].value, ApplicationError)
    assert str(caught[0].value) == "events.jsonl: cannot be read: Input/output error"


def two() -> Iterator[int]:
    yield 1
    yield 2


async def two_async() -> AsyncIterator[int]:
    for number in two():
        yield number


@pytest.mark.parametrize("records", [[1, 2], two, two(), two_async, (1, 2)])
def test_an_application_may_bring_any_iterable(records: Any) -> None:
    assert collected(iterable_lines("app.py:events", records)) == [(1, 1), (2, 2)]


@pytest.mark.parametrize("records", ["text", {"a": 1}, 5, lambda: None, os])
def test_what_is_no_iterable_of_events_is_refused(records: Any) -> None:
    with pytest.raises(ApplicationError, match=r"app.py:events: has to be an iterable of events.*--events FILE"):
        iterable_lines("app.py:events", records)


def test_what_it_is_instead_is_said_in_grammar() -> None:
    with pytest.raises(ApplicationError, match="not an int; correct or rename it, or give"):
        iterable_lines("app.py:events", 5)


def broken() -> Iterator[int]:
    yield 1
    raise RuntimeError("the shelf is empty")


async def broken_async() -> AsyncIterator[int]:
    for number in broken():
        yield number


def test_an_iterable_that_fails_is_reported_with_its_place() -> None:
    source = iterable_lines("app.py:events", broken)
    assert source.read() == [ReadyLine(1, 1)]
    with pytest.raises(
        ApplicationError, match=r"(?s)app.py:events failed after 1 event:.*RuntimeError: the shelf is empty"
    ) as caught:
        source.read()
    assert caught.value.place.startswith(__file__ + ":")


@ensureDeferred
async def test_an_async_iterable_that_fails_is_reported_with_its_place() -> None:
    source: Any = iterable_lines("app.py:events", broken_async)
    await source.read()
    with pytest.raises(ApplicationError, match="app.py:events failed after 1 event"):
        await source.read()


def broken_at_once() -> list[int]:
    raise RuntimeError("no shelf")


def test_a_function_that_fails_is_reported_with_its_place() -> None:
    with pytest.raises(ApplicationError, match="app.py:events failed after 0 events"):
        iterable_lines("app.py:events", broken_at_once)


@ensureDeferred
async def test_a_thread_reads_until_the_end() -> None:
    receiving, sending = os.pipe()
    read = ThreadReader(receiving, THREADS)
    try:
        os.write(sending, b"one")
        assert await read() == b"one"
        waiting = read()
        os.write(sending, b"two")
        assert await waiting == b"two"
        os.close(sending)
        assert await read() == b""
    finally:
        os.close(receiving)


@ensureDeferred
async def test_reading_can_be_given_up_and_what_was_read_for_it_is_lost() -> None:
    receiving, sending = os.pipe()
    read = ThreadReader(receiving, THREADS)
    waiting = read()
    waiting.cancel()
    with pytest.raises(CancelledError):
        await waiting
    os.write(sending, b"lost")
    os.close(sending)
    assert await read() == b""
    os.close(receiving)


@ensureDeferred
async def test_a_descriptor_that_cannot_be_read_fails() -> None:
    receiving, sending = os.pipe()
    os.close(receiving)
    with pytest.raises(OSError, match="Bad file descriptor"):
        await ThreadReader(receiving, THREADS)()
    os.close(sending)
