"""The options of a subscription."""

from __future__ import annotations

from typing import Any

import pytest

from twisted_evproc.amqp import JSONCodec, RecentEvents, SubscriptionOptions
from twisted_evproc.amqp._options import check_codec, split_options
from twisted_evproc.errors import ConfigurationError
from twisted_evproc.matching import present


def test_they_are_parted_from_the_match_spec() -> None:
    options, spec = split_options({"role": "a", "window": 3, "n": present, "fatal": KeyError, "retry_delays": [1, 2]})
    assert options == SubscriptionOptions(window=3, fatal=(KeyError,), retry_delays=(1, 2))
    assert spec.match_spec == {"role": "a", "n": present}


def test_defaults() -> None:
    options, spec = split_options({})
    assert options == SubscriptionOptions(64, 5, (1.0, 5.0, 30.0, 120.0, 600.0), (), 20, None, None)
    assert spec.match_spec == {}


def test_the_window_is_one_that_the_broker_can_count() -> None:
    assert split_options({"window": 10**9})[0].window == 65_535


@pytest.mark.parametrize(("failures", "delay"), [(1, 1), (2, 5), (3, 30), (4, 30), (100, 30)])
def test_the_last_delay_counts_for_all_further_ones(failures: int, delay: float) -> None:
    assert SubscriptionOptions(retry_delays=(1, 5, 30)).delay_after(failures) == delay


def test_a_number_for_dedupe_is_a_memory_of_that_size() -> None:
    dedupe = split_options({"dedupe": 1})[0].dedupe
    assert isinstance(dedupe, RecentEvents)
    dedupe.remember("g", "1")
    dedupe.remember("g", "2")
    assert not dedupe.seen("g", "1")
    own = RecentEvents(5)
    assert split_options({"dedupe": own})[0].dedupe is own
    assert split_options({"dedupe": None})[0].dedupe is None


@pytest.mark.parametrize("delays", ["1", b"1", None, 1, (), (0.0001,), (4_000_001,), (1, None), (float("nan"),), (True,)])
def test_delays_that_are_none(delays: Any) -> None:
    with pytest.raises(ConfigurationError, match="retry_delays"):
        split_options({"retry_delays": delays})


@pytest.mark.parametrize("fatal", [None, "KeyError", KeyError("x"), (KeyError, 1), (KeyboardInterrupt,), (int,)])
def test_fatal_that_is_none(fatal: Any) -> None:
    with pytest.raises(ConfigurationError, match="has to be exception types, such as"):
        split_options({"fatal": fatal})


@pytest.mark.parametrize("dedupe", [True, 0, -1, RecentEvents, object(), 1.5])
def test_dedupe_that_is_none(dedupe: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"dedupe=|the number of events to remember="):
        split_options({"dedupe": dedupe})


def test_codecs() -> None:
    codec = JSONCodec()
    assert check_codec(codec) is codec
    for wrong in (JSONCodec, None, object()):
        with pytest.raises(ConfigurationError, match=r"has to be a codec, with encode\(event\) and decode\(body"):
            check_codec(wrong)
