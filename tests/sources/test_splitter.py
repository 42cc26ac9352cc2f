"""Lines come out the same however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_evproc.errors import ConfigurationError
from twisted_evproc.sources._splitter import LineSplitter, LongLine, check_encoding

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "cp1252", "gb18030", "shift_jis"]


def cut(text: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(text) + 1) for place in places})
    return [text[begin:end] for begin, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def split(splitter: LineSplitter, chunks: list[bytes]) -> list[str | LongLine]:
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.finish()


@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\ufeff"), max_size=20)),
    encoding=st.sampled_from(ENCODINGS),
    newline=st.sampled_from(["\n", "\r\n"]),
    places=st.lists(st.integers(0, 1_000), max_size=8),
    ended=st.booleans(),
)
def test_any_chunks_in_any_encoding_give_the_same_lines(
    lines: list[str], encoding: str, newline: str, places: list[int], ended: bool
) -> None:
    lines = [line.encode(encoding, "replace").decode(encoding) for line in lines]
    text = "".join(line + newline for line in lines)
    if lines and lines[-1] and not ended:
        text = text.removesuffix(newline)

    assert split(LineSplitter(encoding), cut(text.encode(encoding), places)) == lines


@given(
    lengths=st.lists(st.integers(0, 12)),
    newline=st.sampled_from(["\n", "\r\n"]),
    places=st.lists(st.integers(0, 200), max_size=8),
)
def test_lines_that_are_too_long_are_marked_wherever_chunks_end(lengths: list[int], newline: str, places: list[int]) -> None:
    text = "".join("x" * length + newline for length in lengths).encode()

    found = split(LineSplitter(max_length=6), cut(text, places))

    assert [isinstance(line, LongLine) for line in found] == [length > 6 for length in lengths]
    assert [len(line) for line in found if isinstance(line, str)] == [length for length in lengths if length <= 6]


@given(text=st.binary(max_size=60), places=st.lists(st.integers(0, 60), max_size=5))
def test_bytes_that_are_no_text_are_lines_too(text: bytes, places: list[int]) -> None:
    found = split(LineSplitter(), cut(text, places))

    assert found == split(LineSplitter(), [text])
    assert len(found) == text.count(b"\n") + (not text.endswith(b"\n") and bool(text))


def test_a_byte_that_cannot_be_decoded_is_shown() -> None:
    assert LineSplitter().feed(b"caf\xe9 au lait\n") == ["caf\\xe9 au lait"]


def test_a_carriage_return_inside_a_line_stays() -> None:
    assert LineSplitter().feed(b"10%\r20%\r\nend\n") == ["10%\r20%", "end"]


def test_a_line_without_end_keeps_little_memory() -> None:
    splitter = LineSplitter(max_length=1_000)
    for _ in range(100):
        assert splitter.feed(b"x" * 1_000) == []

    assert sum(map(len, splitter._parts)) <= 2_000
    assert splitter.feed(b"\nnext\n") == [LongLine("x" * 80), "next"]


def test_after_its_end_another_text_may_come() -> None:
    splitter = LineSplitter("utf-16")
    first = [*splitter.feed("one\nt".encode("utf-16-be", "strict").join([b"\xfe\xff", b""])), *splitter.finish()]

    assert first == ["one", "t"]
    assert not splitter.rest
    assert splitter.feed("two\n".encode("utf-16-le").join([b"\xff\xfe", b""])) == ["two"]


@pytest.mark.parametrize("encoding", ["no-such", "hex", "base64", "rot13", "idna", "undefined", "a\0b"])
def test_what_is_no_encoding_of_text_is_refused(encoding: str) -> None:
    with pytest.raises(ConfigurationError, match="is no encoding of text"):
        check_encoding(encoding)
