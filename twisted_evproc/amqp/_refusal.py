"""Why the broker does not let us have an exchange or a queue, in words, and what to do about it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._topology import Topology

NO_ACCESS, OTHERWISE = 403, 406

_OTHER = re.compile(r"inequivalent arg '(.*?)' for (exchange|queue) '(.*?)' in (?:virtual host|vhost) ")
_CURRENT = re.compile(r"current is (?:the value )?'(.*?)'(?: of type |$)")
_REMEDY = "Use another name, or delete it on the broker."


def explained(code: int, text: str, topology: Topology) -> str:
    """
    What the broker says, with the remedy.

    :param code: the broker's reply code.
    """
    if code == NO_ACCESS:
        return (
            f"the broker says: {text} ({code}).  Let the user do that (rabbitmqctl set_permissions), or connect as another one."
        )
    found = _OTHER.search(text) if code == OTHERWISE else None
    if found is None:
        return f"the broker says: {text} ({code})."
    argument, kind, name = found.groups()
    if kind == "exchange" and name == topology.exchange and argument == "alternate-exchange":
        return _routed_otherwise(text, topology)
    return f"there is {kind} {name!r} already, made with other options; the broker says: {text} ({code}).  {_REMEDY}"


def _routed_otherwise(text: str, topology: Topology) -> str:
    current = _CURRENT.search(text)
    marker = topology.marker.name.removesuffix(topology.route_by or "")
    if current is None or not current[1].startswith(marker):
        return f"the exchange {topology.exchange!r} was made by another program, and does not take events as ours do.  {_REMEDY}"
    keyword = current[1].removeprefix(marker) or None
    return (
        f"the exchange {topology.exchange!r} is routed by {_shown(keyword)}, but here by {_shown(topology.route_by)}: all "
        f"programs on one exchange have to name the same keyword.  Give route_by={keyword!r}, or another exchange."
    )


def _shown(keyword: str | None) -> str:
    return "no keyword" if keyword is None else f"the keyword {keyword!r}"
