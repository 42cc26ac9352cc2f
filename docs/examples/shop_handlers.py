"""Handlers of a shop, for ``shop.zcml`` beside this."""

from __future__ import annotations

from typing import Any


def check_stock(order: Any) -> str:
    return f"{order} is in stock"


async def pack(order: Any) -> str:
    return f"{order} is packed"
