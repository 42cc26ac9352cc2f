"""
Triage of GitHub webhook deliveries by their content: about twenty filters, of every kind.

Run it on the deliveries that come with it, and ask why one of them went where it did::

    evproc run docs/examples/triage.py --events docs/examples/github.jsonl
    evproc explain docs/examples/triage.py --event '{"event": "star", "payload": {"action": "created"}}'

Each line is a delivery, ``{"event": <X-GitHub-Event header>, "payload": <body>}``.  Each rule is a filter and a rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted_evproc import EventProcessor, glob, one_of
from twisted_evproc.matching import And, Dyn, Eq, Exists, Geq, Glob, Gt, In, Leq, Lt, Not, Or, Regex

Delivery = Mapping[str, Any]

processor = EventProcessor()


async def is_by_the_owner(event: Delivery) -> bool:
    """Stands for a question to some other service."""
    payload = event["payload"]
    owner = (payload.get("repository") or {}).get("owner") or {}
    return bool(owner) and owner.get("login") == (payload.get("sender") or {}).get("login")


#: name -> (filter, rank); which of two that match comes first is decided by rank, then by the number of clauses.
RULES: dict[str, tuple[Any, int]] = {
    "ping": ({"event": "ping"}, 2),
    "alert": (Glob("event", "*_alert") & Exists("payload.alert"), 2),
    "severe_advisory": (Eq("event", "security_advisory") & In("payload.security_advisory.severity", ["high", "critical"]), 2),
    "advisory": ({"event": "security_advisory"}, 1),
    "large_pull_request": (Eq("event", "pull_request") & Gt("payload.pull_request.additions", 100), 1),
    "small_pull_request": (Eq("event", "pull_request") & Leq("payload.pull_request.additions", 100), 1),
    "failed_run": ({"event": "workflow_run", "payload.workflow_run.conclusion": one_of("failure", "timed_out")}, 1),
    "finished_run": ({"event": "workflow_run", "payload.action": "completed"}, 1),
    "issue_with_label": (Eq("event", "issues") & Exists("payload.issue.labels.0"), 1),
    "issue": ({"event": "issues"}, 1),
    "comment_on_code": ({"event": glob("*comment"), "payload.comment.path": Any}, 1),
    "comment": (Regex("event", r"comment$"), 1),
    "applause": (Or(Eq("event", "star"), {"event": "watch", "payload.action": "started"}), 1),
    "push_to_default": (And(Eq("event", "push"), Regex("payload.ref", r"/(main|master)$")), 1),
    "push": ({"event": "push"}, 1),
    "old_release": (Eq("event", "release") & Lt("payload.release.id", 20_000_000), 1),
    "release": (Eq("event", "release") & Geq("payload.release.id", 20_000_000), 1),
    "public": ({"event": "public", "payload.repository.private": False}, 1),
    "without_repository": (Not(Exists("payload.repository")), 0),
    "by_the_owner": (Dyn(is_by_the_owner), 0),
    "rest": ({}, -1),
}


def rule(name: str) -> Callable[[Delivery], str]:
    """A processor that says which rule it is."""

    def process(event: Delivery) -> str:
        return name

    process.__name__ = name
    return process


for name, (condition, rank) in RULES.items():
    processor.processor(condition, rank=rank)(rule(name))
