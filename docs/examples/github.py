"""
Triage of GitHub webhook deliveries.

Run it on the deliveries that come with it::

    evproc run docs/examples/github.py --events docs/examples/github.jsonl

Each line is a delivery, ``{"event": <X-GitHub-Event header>, "payload": <body>}``.  :func:`to_event` tells ``evproc`` what of
it is the event (the payload) and what are the details that handlers match on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from twisted_evproc import EventDispatcher, StopProcessing, glob, none_of, one_of

Payload = Mapping[str, Any]

dispatcher = EventDispatcher(["kind", "action", "repository", "sender"], phases=("screen", "triage", "audit"), name="github")
audited: Counter[str] = Counter()


def to_event(record: Mapping[str, Any]) -> tuple[Payload, dict[str, Any]]:
    """What a line stands for: the payload is the event; what it is about, and who did it, are the details."""
    payload = record["payload"]
    return payload, {
        "kind": record["event"],
        "action": payload.get("action"),
        "repository": (payload.get("repository") or {}).get("full_name"),
        "sender": (payload.get("sender") or {}).get("login"),
    }


@dispatcher.handler("screen", kind="ping")
def answer_ping(payload: Payload) -> None:
    raise StopProcessing(payload["zen"])


@dispatcher.handler("screen", sender=glob("*[[]bot]"), kind=none_of("workflow_run", "check_run"))
def note_bot(payload: Payload) -> str:
    return f"by a bot: {payload['sender']['login']}"


@dispatcher.handler("triage", kind="issues", action=one_of("opened", "edited", "reopened"))
def label_issue(payload: Payload) -> str:
    title = payload["issue"]["title"].lower()
    return "bug" if any(word in title for word in ("error", "crash", "broken", "fails")) else "question"


@dispatcher.handler("triage", kind="pull_request", action="opened")
def ask_for_review(payload: Payload) -> str:
    pull = payload["pull_request"]
    size = pull["additions"] + pull["deletions"]
    return "one reviewer" if size < 100 else "two reviewers"


@dispatcher.handler("triage", kind="workflow_run", where={"workflow_run.conclusion": one_of("failure", "timed_out")})
async def report_failed_run(payload: Payload) -> str:
    run = payload["workflow_run"]
    return f"{run['name']} failed on {run['head_branch']}"


@dispatcher.handler("triage", kind=one_of("star", "watch"), action=one_of("created", "started"))
def thank(payload: Payload) -> str:
    return f"thanks, {payload['sender']['login']}"


@dispatcher.handler("triage", kind=glob("*_alert"))
def raise_alarm(payload: Payload) -> str:
    return f"alarm: {payload['action']} in {payload['repository']['full_name']}"


@dispatcher.handler("triage", kind="security_advisory", action="published")
def read_advisory(payload: Payload) -> str:
    return f"{payload['security_advisory']['severity']}: {payload['security_advisory']['summary']}"


@dispatcher.handler("audit")
def audit(payload: Payload) -> None:
    audited[payload.get("action", "none")] += 1
