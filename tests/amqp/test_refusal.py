"""What is said when the broker does not let us have something; the texts are those of RabbitMQ 3.10."""

from __future__ import annotations

import pytest

from twisted_evproc.amqp._refusal import explained
from twisted_evproc.amqp._topology import Topology

INEQUIVALENT = "PRECONDITION_FAILED - inequivalent arg '{}' for {} '{}' in vhost '/': "


@pytest.mark.parametrize(
    ("ours", "text", "said"),
    [
        (
            "level",
            "received 'my%2Eshop.routed-by.level' but current is 'my%2Eshop.routed-by.role'",
            "'my.shop' is routed by the keyword 'role', but here by the keyword 'level': all programs on one exchange have to "
            "name the same keyword.  Give route_by='role', or another exchange.",
        ),
        (
            None,
            "received 'my%2Eshop.routed-by.' but current is 'my%2Eshop.routed-by.role'",
            "'my.shop' is routed by the keyword 'role', but here by no keyword: all",
        ),
        (
            "role",
            "received 'my%2Eshop.routed-by.role' but current is 'my%2Eshop.routed-by.'",
            "'my.shop' is routed by no keyword, but here by the keyword 'role': all programs on one exchange have to name the "
            "same keyword.  Give route_by=None, or another exchange.",
        ),
        (
            "role",
            "received the value 'my%2Eshop.routed-by.role' of type 'longstr' but current is none",
            "'my.shop' was made by another program, and does not take events as ours do.  Use another name",
        ),
        (
            "role",
            "received 'my%2Eshop.routed-by.role' but current is 'unroutable'",
            "'my.shop' was made by another program",
        ),
    ],
)
def test_an_exchange_that_is_routed_otherwise(ours: str | None, text: str, said: str) -> None:
    told = explained(406, INEQUIVALENT.format("alternate-exchange", "exchange", "my.shop") + text, Topology("my.shop", ours))
    assert said in told


def test_an_exchange_or_queue_of_another_make() -> None:
    topology = Topology("shop", None)
    told = explained(406, INEQUIVALENT.format("type", "exchange", "shop") + "received 'topic' but current is 'fanout'", topology)
    assert told.startswith("there is exchange 'shop' already, made with other options; the broker says: PRECONDITION_FAILED")
    assert told.endswith("but current is 'fanout' (406).  Use another name, or delete it on the broker.")
    told = explained(406, INEQUIVALENT.format("x-queue-type", "queue", "shop.g") + "received the value 'quorum'", topology)
    assert "there is queue 'shop.g' already" in told


def test_no_access() -> None:
    told = explained(
        403, "ACCESS_REFUSED - access to exchange 'shop' in vhost '/' refused for user 'anna'", Topology("shop", None)
    )
    assert "refused for user 'anna' (403).  Let the user do that (rabbitmqctl set_permissions)" in told


@pytest.mark.parametrize("code", [404, 406, 541])
def test_whatever_else_it_says(code: int) -> None:
    assert explained(code, "SOMETHING - else", Topology("shop", None)) == f"the broker says: SOMETHING - else ({code})."
