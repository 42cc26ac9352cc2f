"""Which deliveries can be acknowledged."""

from __future__ import annotations

from collections.abc import Callable


class Acknowledger:
    """
    Acknowledges deliveries that are finished: those without an unfinished one before them by one word, others one by one.

    A quorum queue may give back acknowledged deliveries when the channel closes soon after many single words: the closing side
    waits for that reason, see ``SETTLE_SECONDS``.
    """

    def __init__(self, send: Callable[[int, bool], object]) -> None:
        """
        :param send: takes a delivery tag, and whether it stands for all before it too.
        """
        self._send = send
        # Whether each is finished; in the order of the tags.
        self._open: dict[int, bool] = {}
        self._late: list[int] = []

    def __len__(self) -> int:
        """How many deliveries are not acknowledged yet."""
        return len(self._open)

    def arrived(self, tag: int) -> None:
        """A delivery has come; tags come in order."""
        self._open[tag] = False

    def finished(self, tag: int) -> None:
        """A delivery can be acknowledged; nothing is done for one that has its answer."""
        # Whoever answers a delivery twice is cut off by the broker.
        if self._open.get(tag) is False:
            self._open[tag] = True
            self._late.append(tag)

    def forget(self, tag: int) -> None:
        """
        A delivery was answered in another way.

        Not before it was: one that is not known here is acknowledged together with a later one.
        """
        _ = self._open.pop(tag, None)

    def flush(self) -> None:
        """Acknowledge what is finished."""
        first: list[int] = []
        for tag, finished in self._open.items():
            if not finished:
                break
            first.append(tag)
        for tag in first:
            del self._open[tag]
        if first:
            self._send(first[-1], True)
        late, self._late = self._late, []
        for tag in late:
            if self._open.pop(tag, False):
                self._send(tag, False)
