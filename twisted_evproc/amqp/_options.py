"""The options of a subscription."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import attrs

from .._options import needed_number, needed_seconds
from ..errors import ConfigurationError, WireError
from ..interfaces import ICodec, IDeduplicator
from ._dedupe import RecentEvents
from ._wire import WireSpec

#: Seconds before the second, third, ... delivery of an event whose handler failed; the last one counts for all further ones.
RETRY_DELAYS = (1.0, 5.0, 30.0, 120.0, 600.0)
MAX_DELIVERIES = 5
WINDOW = 64
CRASH_LIMIT = 20

#: What ``subscribe`` takes besides the match-spec.
OPTION_NAMES = frozenset({"codec", "crash_limit", "dedupe", "fatal", "max_deliveries", "retry_delays", "window"})


@attrs.frozen
class SubscriptionOptions:
    """
    How the events of a subscription are handled.

    :ivar window: how many events are handled at once, at most; with 1 they are handled one after the other, in order.
    :ivar max_deliveries: how often an event is given to handlers that fail before it becomes a dead letter.
    :ivar retry_delays: seconds before the second, third, ... of these deliveries.
    :ivar fatal: exceptions for which a further delivery makes no sense: such an event is a dead letter at once.
    :ivar crash_limit: how often the broker gives an event again whose member went away before it answered.
    :ivar dedupe: remembers what was handled, or ``None``.
    :ivar codec: reads the events, in place of the transport's; or ``None``.
    """

    window: int = WINDOW
    max_deliveries: int = MAX_DELIVERIES
    retry_delays: tuple[float, ...] = RETRY_DELAYS
    fatal: tuple[type[BaseException], ...] = ()
    crash_limit: int = CRASH_LIMIT
    dedupe: Any = None
    codec: Any = None

    def delay_after(self, failures: int) -> float:
        """The seconds before the next delivery of an event that failed so often, at least once."""
        return self.retry_delays[min(failures, len(self.retry_delays)) - 1]


def split_options(given: Mapping[str, Any]) -> tuple[SubscriptionOptions, WireSpec]:
    """
    Part the keywords of ``subscribe`` into options and match-spec.

    :raises twisted_evproc.errors.ConfigurationError: for options that make no sense, and keywords that cannot cross the wire.
    """
    options = {name: given[name] for name in OPTION_NAMES if name in given}
    spec = WireSpec({name: value for name, value in given.items() if name not in OPTION_NAMES})
    if "window" in options:
        # the broker counts in 16 bits
        options["window"] = min(needed_number(options["window"], "window", 1), 65_535)
    if "max_deliveries" in options:
        options["max_deliveries"] = needed_number(options["max_deliveries"], "max_deliveries", 1)
    if "crash_limit" in options:
        options["crash_limit"] = needed_number(options["crash_limit"], "crash_limit", 0)
    if "retry_delays" in options:
        options["retry_delays"] = _delays(options["retry_delays"])
    if "fatal" in options:
        options["fatal"] = _exceptions(options["fatal"])
    if options.get("dedupe") is not None:
        options["dedupe"] = _deduplicator(options["dedupe"])
    if options.get("codec") is not None:
        options["codec"] = check_codec(options["codec"])
    return SubscriptionOptions(**options), spec


def check_names(keywords: Iterable[str]) -> None:
    """
    See that no detail and no keyword of a match-spec has the name of an option.

    :raises twisted_evproc.errors.WireError: for one that has.
    """
    if not OPTION_NAMES.isdisjoint(keywords):
        name = min(OPTION_NAMES.intersection(keywords))
        raise WireError(name, f"{name!r} is an option of subscribe(), so that no group could match on it.  Choose another name.")


def check_spelling(keywords: Iterable[str]) -> None:
    """
    See that no keyword of a match-spec is an option that was written wrongly: nothing would ever match.

    :raises twisted_evproc.errors.WireError: for one that is.
    """
    for keyword in keywords:
        # A short name has neighbours that mean something: a code is no codec.
        close = get_close_matches(keyword, OPTION_NAMES, n=1, cutoff=0.8 if "_" in keyword else 0.9)
        if close:
            raise WireError(
                keyword,
                f"{keyword!r} would be matched on, and is almost the option {close[0]!r}.  Did you mean that?  To match on "
                f"{keyword!r}, let the target be a dispatcher that allows it.",
            )


def check_codec(codec: Any) -> Any:
    """
    A codec, if it is one.

    :raises twisted_evproc.errors.ConfigurationError: for anything else.
    """
    missing = [name for name in ICodec.names() if not callable(getattr(codec, name, None))]
    if isinstance(codec, type) or missing:
        raise ConfigurationError(
            f"codec={codec!r} has to be a codec, with encode(event) and decode(body, content_type, event_type): JSONCodec(), "
            f"ClassCodec(...), or one of your own"
        )
    return codec


def _delays(given: Any) -> tuple[float, ...]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ConfigurationError(f"retry_delays={given!r} has to be a list of seconds, such as (1, 5, 30)")
    delays = tuple(needed_seconds(delay, "each of retry_delays") for delay in given)
    # The broker's unit is the millisecond, in 32 bits.
    if not delays or not all(0.001 <= delay <= 4_000_000 for delay in delays):
        raise ConfigurationError(f"retry_delays={given!r} has to have one delay at least, each from 0.001 to 4000000 seconds")
    return delays


def _exceptions(given: Any) -> tuple[type[BaseException], ...]:
    types = (given,) if isinstance(given, type) else tuple(given) if isinstance(given, Iterable) else (given,)
    for each in types:
        if not (isinstance(each, type) and issubclass(each, Exception)):
            raise ConfigurationError(f"fatal={given!r} has to be exception types, such as (ValueError, LookupError)")
    return types


def _deduplicator(given: Any) -> Any:
    if isinstance(given, int) and not isinstance(given, bool):
        return RecentEvents(given)
    missing = [name for name in IDeduplicator.names() if not callable(getattr(given, name, None))]
    if isinstance(given, type) or missing:
        raise ConfigurationError(
            f"dedupe={given!r} has to be a number of events to remember, or an object with open, seen, remember and close, such "
            f"as twisted_evproc.flow.store.SeenEvents(url)"
        )
    return given
