"""Which messages has the broker closed a channel for?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..errors import EvprocError, PublishRefused, Unroutable

if TYPE_CHECKING:
    from ._publisher import Message

NO_ACCESS, NOT_FOUND, TOO_LARGE = 403, 404, 406

_SIZE = re.compile(r"message size (\d+) is larger")
_EXCHANGE = re.compile(r"exchange '(.*?)' in (?:virtual host|vhost) ")
_TOPIC = re.compile(r"topic '(.*?)' in exchange ")
#: What the broker calls the exchange without a name.
_NAMELESS = "amq.default"


def blamed(code: int, text: str, in_flight: Mapping[int, Message]) -> list[tuple[int, EvprocError]]:
    """
    What would make the broker close the next channel too.

    It answers with words for people, not with the number of a message.  Where they say too little, too many messages are blamed
    rather than none, which would be sent again and again.

    :param in_flight: by their numbers.
    :return: the numbers of messages, with what to say of them.
    """
    if code == TOO_LARGE:
        return list(_too_large(text, in_flight))
    if code == NO_ACCESS:
        return list(_without_access(text, in_flight))
    if code == NOT_FOUND:
        return list(_nowhere(text, in_flight))
    return []


def _too_large(text: str, in_flight: Mapping[int, Message]) -> Iterator[tuple[int, EvprocError]]:
    found = _SIZE.search(text)
    size = int(found[1]) if found else max((len(message.body) for message in in_flight.values()), default=0)
    for number, message in in_flight.items():
        if len(message.body) == size:
            remedy = "Put the data elsewhere and publish where, or raise max_message_size on the broker."
            yield number, PublishRefused(message.id, f"{text} ({TOO_LARGE}).  {remedy}")


def _without_access(text: str, in_flight: Mapping[int, Message]) -> Iterator[tuple[int, EvprocError]]:
    exchange, topic = _EXCHANGE.search(text), _TOPIC.search(text)
    for number, message in in_flight.items():
        elsewhere = exchange is not None and exchange[1] != (message.exchange or _NAMELESS)
        if elsewhere or (topic is not None and topic[1] != message.routing_key):
            continue
        remedy = "Let the user write there (rabbitmqctl set_permissions), or publish as another one."
        yield number, PublishRefused(message.id, f"{text} ({NO_ACCESS}).  {remedy}")


def _nowhere(text: str, in_flight: Mapping[int, Message]) -> Iterator[tuple[int, EvprocError]]:
    # Where users' events go is declared for each channel; what we put aside goes where the group has declared it.
    exchange = _EXCHANGE.search(text)
    for number, message in in_flight.items():
        if not message.limited and (exchange is None or exchange[1] == message.exchange):
            yield number, Unroutable(message.id, text, message.exchange)
