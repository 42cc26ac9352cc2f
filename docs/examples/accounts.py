"""
User accounts: a dispatcher that several parts of a program listen to.

Run it on the events that come with it::

    evproc run docs/examples/accounts.py --events docs/examples/accounts.jsonl

Each event is a mapping with the keys ``event_type``, ``user`` and ``role``; handlers say which events they want to hear.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from twisted_evproc import EventDispatcher, StopProcessing, glob, one_of

Account = Mapping[str, Any]

dispatcher = EventDispatcher(["event_type", "user", "role"], name="accounts")
seen: Counter[str] = Counter()


@dispatcher.handler("before", user=glob("root*"))
def refuse_reserved_names(account: Account) -> None:
    raise StopProcessing(f"the name {account['user']} is reserved")


@dispatcher.handler("before", role="admin", event_type=one_of("created", "promoted"))
def ask_for_second_factor(account: Account) -> str:
    return "second factor demanded"


@dispatcher.handler("during", event_type="created")
async def make_home(account: Account) -> str:
    # Something that takes time: the handlers of the next phase wait for it, other events and connections do not.
    await deferLater(reactor, 0.01)
    return f"/home/{account['user']}"


@dispatcher.handler("during", event_type="created", requires="make_home")
def copy_skeleton(account: Account) -> int:
    return len([".profile", ".bashrc"])


@dispatcher.handler("during", event_type="deleted", where=lambda account: account.get("keep_files") is not True)
def remove_home(account: Account) -> None:
    pass


@dispatcher.handler("after", event_type=one_of("created", "promoted", "deleted"))
def count(account: Account) -> int:
    seen[account["event_type"]] += 1
    return seen[account["event_type"]]
