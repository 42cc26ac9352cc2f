from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import pytest
import zope.component
from zope.component.testing import setUp, tearDown
from zope.interface import Interface, directlyProvides, implementer
from zope.interface.interfaces import ComponentLookupError
from zope.interface.registry import Components

from twisted_evproc import EventDispatcher, IBackgroundUtility, IEventDispatcher
from twisted_evproc.errors import ConfigurationError
from twisted_evproc.service import look_up, register, unregister


@pytest.fixture(autouse=True)
def fresh_global_registry() -> Iterator[None]:
    setUp()
    yield
    tearDown()


@pytest.fixture(params=["global", "own"])
def site(request: pytest.FixtureRequest) -> Any:
    return None if request.param == "global" else Components("own")


class TestRegister:
    def test_zope_component_finds_it(self) -> None:
        nameless, named = EventDispatcher(), EventDispatcher()
        register(nameless)
        register(named, "accounts")

        assert zope.component.getUtility(IEventDispatcher) is nameless
        assert zope.component.getUtility(IEventDispatcher, "accounts") is named

    def test_a_site_manager_of_ones_own_will_do(self) -> None:
        site: Any = Components("own")
        dispatcher = EventDispatcher()
        register(dispatcher, "accounts", site_manager=site)

        assert site.getUtility(IEventDispatcher, "accounts") is dispatcher
        assert zope.component.queryUtility(IEventDispatcher, "accounts") is None

    def test_the_same_one_twice_is_one_registration(self, site: Any) -> None:
        dispatcher = EventDispatcher()
        register(dispatcher, site_manager=site)
        register(dispatcher, site_manager=site)

        unregister(dispatcher, site_manager=site)
        with pytest.raises(LookupError):
            look_up(site_manager=site)

    def test_another_one_under_the_name_is_refused(self, site: Any) -> None:
        first = EventDispatcher(name="first")
        register(first, "accounts", site_manager=site, info="site.zcml:3")

        with pytest.raises(
            ConfigurationError,
            match=r"'second'> cannot be registered for IEventDispatcher under the name 'accounts': "
            r"<EventDispatcher 'first'> is there \(site.zcml:3\)",
        ):
            register(EventDispatcher(name="second"), "accounts", site_manager=site)
        assert look_up("accounts", site_manager=site) is first

    def test_a_site_may_have_one_of_its_own_beside_that_of_its_base(self) -> None:
        base = Components("base")
        site = Components("site", bases=(base,))
        general, special = EventDispatcher(), EventDispatcher()
        register(general, site_manager=base)

        assert look_up(site_manager=site) is general
        register(special, site_manager=site)
        assert look_up(site_manager=site) is special and look_up(site_manager=base) is general

    def test_for_an_interface_of_ones_own(self, site: Any) -> None:
        class IAccountEvents(IEventDispatcher):
            """Where accounts are told of."""

        @implementer(IAccountEvents)
        class AccountEvents(EventDispatcher):
            pass

        dispatcher = AccountEvents()
        register(dispatcher, provided=IAccountEvents, site_manager=site)

        assert look_up(provided=IAccountEvents, site_manager=site) is dispatcher
        # whoever asks for any dispatcher finds it, and registering one of those is no conflict
        assert look_up(site_manager=site) is dispatcher
        register(EventDispatcher(), site_manager=site)

    @pytest.mark.parametrize(
        ("component", "provided", "words"),
        [
            (
                "a string",
                IEventDispatcher,
                "'a string' cannot be registered for IEventDispatcher: .*Does not declaratively implement",
            ),
            (EventDispatcher, IEventDispatcher, "EventDispatcher'> cannot be registered .*; give an instance of it"),
            (EventDispatcher(), Interface, None),
            (EventDispatcher(), EventDispatcher, "is no interface"),
        ],
    )
    def test_what_does_not_provide_the_interface_is_refused(
        self, site: Any, component: Any, provided: Any, words: str | None
    ) -> None:
        if words is None:
            register(component, provided=provided, site_manager=site)
        else:
            with pytest.raises(ConfigurationError, match=words):
                register(component, provided=provided, site_manager=site)

    def test_what_only_says_that_it_provides_the_interface_is_refused(self, site: Any) -> None:
        class Half:
            running = False

        directlyProvides(half := Half(), IBackgroundUtility)

        with pytest.raises(ConfigurationError, match=r"IBackgroundUtility.*stop"):
            register(half, provided=IBackgroundUtility, site_manager=site)

    def test_other_mistakes_are_named(self) -> None:
        with pytest.raises(ConfigurationError, match="name=7 has to be a string"):
            register(EventDispatcher(), 7)  # type: ignore[arg-type]  # that is the mistake
        with pytest.raises(ConfigurationError, match="site_manager='here' is no component registry"):
            register(EventDispatcher(), site_manager="here")
        with pytest.raises(ConfigurationError, match="site_manager='here' is no component registry"):
            look_up(site_manager="here")


class TestUnregister:
    def test_it_is_not_found_any_more_and_its_name_is_free(self, site: Any) -> None:
        first, second = EventDispatcher(), EventDispatcher()
        register(first, "accounts", site_manager=site)
        unregister(first, "accounts", site_manager=site)
        register(second, "accounts", site_manager=site)

        assert look_up("accounts", site_manager=site) is second

    def test_an_unknown_name_is_a_look_up_error_that_lists_the_names(self, site: Any) -> None:
        dispatcher = EventDispatcher()
        register(dispatcher, "accounts", site_manager=site)

        with pytest.raises(LookupError, match="no IEventDispatcher is registered under the name 'orders'; there are: 'accounts'"):
            unregister(dispatcher, "orders", site_manager=site)

    def test_another_one_is_not_unregistered(self, site: Any) -> None:
        there = EventDispatcher(name="there")
        register(there, "accounts", site_manager=site)

        with pytest.raises(ComponentLookupError, match="'other'> is not registered .* 'accounts': <EventDispatcher 'there'> is"):
            unregister(EventDispatcher(name="other"), "accounts", site_manager=site)
        assert look_up("accounts", site_manager=site) is there


class TestLookUp:
    def test_an_unknown_name_lists_those_there_are(self, site: Any) -> None:
        with pytest.raises(ComponentLookupError, match=r"under the name 'x'; there are: \(none\)"):
            look_up("x", site_manager=site)
        register(EventDispatcher(), "orders", site_manager=site)
        register(EventDispatcher(), site_manager=site)

        with pytest.raises(LookupError, match="under the name 'x'; there are: '', 'orders'"):
            look_up("x", site_manager=site)


class TestWithoutZopeComponent:
    """In another process, in which it cannot be imported."""

    PROBE = """
        import sys
        for name in ("zope.component", "zope.configuration", "zope.schema"):
            sys.modules[name] = None
        from zope.interface.registry import Components
        from twisted_evproc import EventDispatcher
        from twisted_evproc.errors import MissingExtra
        from twisted_evproc.service import look_up, register, unregister

        dispatcher, site = EventDispatcher(), Components("own")
        register(dispatcher, "accounts", site_manager=site)
        assert look_up("accounts", site_manager=site) is dispatcher
        unregister(dispatcher, "accounts", site_manager=site)

        def directives():
            import twisted_evproc.service._zcml

        for attempt in (lambda: register(dispatcher), lambda: unregister(dispatcher), look_up, directives):
            try:
                attempt()
            except MissingExtra as error:
                assert error.extra == "zca", error
                print(error)
    """

    def test_only_what_needs_it_fails(self) -> None:
        child = subprocess.run(
            [sys.executable, "-W", "error", "-c", dedent(self.PROBE)], capture_output=True, text=True, timeout=120, check=False
        )

        assert child.stderr == ""
        lines = child.stdout.splitlines()
        assert len(lines) == 4
        assert all(line.endswith("needs a library that is not installed; install twisted_evproc[zca].") for line in lines)
