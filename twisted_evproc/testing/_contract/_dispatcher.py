"""The contract of :class:`~twisted_evproc.interfaces.IEventDispatcher` in one piece."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from ...errors import KeywordNotAllowed
from ...interfaces import IBackgroundUtility, IEventDispatcher
from ._calling import Calling
from ._changing import Changing
from ._failures import Failures
from ._life import Life
from ._matching import Matching
from ._order import Order
from ._registering import Registering
from ._scene import refused


class DispatcherContract(Matching, Registering, Order, Calling, Changing, Life):
    """
    What every dispatcher promises, as test methods.

    Mix it into a test class, for pytest, ``unittest`` or ``trial``, that defines ``make_dispatcher(**options)``: it returns a new
    dispatcher that is not started and provides :class:`~twisted_evproc.interfaces.IEventDispatcher` and
    :class:`~twisted_evproc.interfaces.IBackgroundUtility`.  The options are ``allowed_match_spec_keywords``, ``phases`` and
    ``clock`` (a :class:`twisted.internet.task.Clock`), as :class:`~twisted_evproc.dispatch.EventDispatcher` takes them; its
    failures are to be logged, not raised.  No reactor is needed.
    """

    def test_it_provides_its_interfaces(self) -> None:
        dispatcher = self.scene().dispatcher
        assert verifyObject(IEventDispatcher, dispatcher)
        assert verifyObject(IBackgroundUtility, dispatcher)

    def test_a_keyword_that_is_not_allowed_is_refused_at_once(self) -> None:
        scene = self.scene()
        said = "'colour'.*allowed: 'event_type', 'role', 'user'"
        refused(lambda: scene.add(print, colour="red"), KeywordNotAllowed, said)
        refused(lambda: scene.fire(colour="red"), KeywordNotAllowed, said)
        assert scene.heard() == []

    def test_also_before_the_start(self) -> None:
        scene = self.scene(started=False)
        refused(lambda: scene.fire(colour="red"), KeywordNotAllowed)


class FailurePolicyContract(Failures):
    """
    What dispatchers promise that take ``on_failure``.

    To be mixed in as :class:`DispatcherContract`; ``make_dispatcher`` is also given ``on_failure`` here: ``LOG``, ``COLLECT``,
    ``ABORT`` or ``RAISE``, or one of them limited to exception types.
    """
