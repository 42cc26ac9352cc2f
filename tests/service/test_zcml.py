from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from zope.component import getUtility
from zope.component.testing import setUp, tearDown
from zope.configuration import xmlconfig
from zope.configuration.config import ConfigurationConflictError, ConfigurationExecutionError
from zope.configuration.exceptions import ConfigurationError as ZopeConfigurationError

from twisted_evproc import COLLECT, RAISE, EventDispatcher, IEventDispatcher
from twisted_evproc.dispatch import HandlerView
from twisted_evproc.errors import ConfigurationError, DispatcherOverloaded
from twisted_evproc.matching import between, glob, one_of, regex
from twisted_evproc.service import register

MODULE = """
from twisted_evproc import COLLECT, RAISE, between

policy = RAISE.only(ValueError, otherwise=COLLECT)
adult = between(18, None)
no_number = "seven"
seen = []

def hear(event):
    seen.append(("hear", event))

def tell(event):
    seen.append(("tell", event))

def is_long(event):
    return len(event) > 3
"""


@pytest.fixture(autouse=True)
def fresh_global_registry() -> Iterator[None]:
    setUp()
    yield
    tearDown()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of handlers, as an application has it."""
    import importlib

    (tmp_path / "shop_handlers.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    module = importlib.import_module("shop_handlers")
    yield module
    import sys

    del sys.modules["shop_handlers"]


Load = Callable[..., None]


@pytest.fixture
def load(tmp_path: Path, module: Any) -> Load:
    """Runs directives as a file of ZCML, others included where they are given by name."""

    def load(directives: str, **others: str) -> None:
        for name, content in {"site": directives, **others}.items():
            (tmp_path / f"{name}.zcml").write_text(
                '<configure xmlns="http://namespaces.zope.org/zope" '
                'xmlns:evproc="http://namespaces.twisted-evproc.org/evproc">\n'
                '<include package="twisted_evproc.service" file="meta.zcml" />\n'
                f"{content}\n</configure>\n",
                encoding="utf-8",
            )
        xmlconfig.file(str(tmp_path / "site.zcml"))

    return load


def dispatcher(name: str = "") -> EventDispatcher:
    found = getUtility(IEventDispatcher, name)
    assert isinstance(found, EventDispatcher)
    return found


def only_handler(name: str = "") -> HandlerView:
    [view] = dispatcher(name).handlers()
    return view


class TestDispatcher:
    def test_it_is_registered_with_its_options(self, load: Load) -> None:
        load("""
            <evproc:dispatcher name="accounts" keywords="user role" phases="first second" on_failure="RAISE"
                max_concurrent_firings="2" max_waiting_firings="3" serialize_by="user" />
        """)

        accounts = dispatcher("accounts")
        assert accounts.allowed_match_spec_keywords == {"user", "role"}
        assert accounts.phases == ("first", "second")
        assert (accounts.name, accounts.policy, accounts.running) == ("accounts", RAISE, False)
        accounts.start()
        accounts.add_event_handler(lambda event: Deferred(), "first")
        fired = [accounts.fire_event(number, user=number) for number in range(6)]
        refused: list[Failure] = []
        for deferred in fired:
            deferred.addErrback(refused.append)
        # two run, three wait
        assert [failure.type for failure in refused] == [DispatcherOverloaded]

    def test_without_options_it_is_as_one_made_in_python(self, load: Load) -> None:
        load("<evproc:dispatcher />")

        assert dispatcher().phases == ("before", "during", "after")
        assert dispatcher().policy == EventDispatcher().policy

    def test_a_failure_policy_by_its_dotted_name(self, load: Load, module: Any) -> None:
        load('<evproc:dispatcher on_failure="shop_handlers.policy" />')

        assert dispatcher().policy == RAISE.only(ValueError, otherwise=COLLECT)

    def test_it_is_started_when_its_handlers_are_there(self, load: Load, module: Any) -> None:
        load("""
            <evproc:dispatcher start="yes" />
            <evproc:handler handler="shop_handlers.hear" phase="during" />
        """)

        assert dispatcher().running
        dispatcher().fire_event("order")
        assert module.seen == [("hear", "order")]


class TestHandler:
    def test_it_is_added_with_its_options(self, load: Load, module: Any) -> None:
        load("""
            <evproc:dispatcher name="shop" />
            <evproc:handler dispatcher="shop" handler="shop_handlers.hear" phase="before" handler_name="ear"
                where="shop_handlers.is_long" max_calls="1" timeout="2.5" />
        """)

        view = only_handler("shop")
        assert (view.name, view.phase) == ("ear", "before")
        dispatcher("shop").start()
        for event in ("abc", "abcd", "abcde"):
            dispatcher("shop").fire_event(event)
        assert module.seen == [("hear", "abcd")]

    def test_requirements_order_it(self, load: Load, module: Any) -> None:
        load("""
            <evproc:handler handler="shop_handlers.hear" phase="during" requires="tell" />
            <evproc:handler handler="shop_handlers.tell" phase="during" />
            <evproc:dispatcher start="yes" />
        """)

        dispatcher().fire_event("order")
        assert module.seen == [("tell", "order"), ("hear", "order")]

    def test_required_by_as_well(self, load: Load, module: Any) -> None:
        load("""
            <evproc:dispatcher start="yes" />
            <evproc:handler handler="shop_handlers.hear" phase="during" />
            <evproc:handler handler="shop_handlers.tell" phase="during" required_by="hear other" />
        """)

        dispatcher().fire_event("order")
        assert module.seen == [("tell", "order"), ("hear", "order")]

    @pytest.mark.parametrize(
        ("attributes", "value"),
        [
            ('value="admin"', "admin"),
            ('value="7"', "7"),
            ('value="7" type="int"', 7),
            ('value="7.5" type="float"', 7.5),
            ('value="yes" type="bool"', True),
            ('values="admin user"', one_of("admin", "user")),
            ('values="1 2" type="int"', one_of(1, 2)),
            ('glob="eu-*"', glob("eu-*")),
            (r'regex="\d+"', regex(r"\d+")),
            ('object="shop_handlers.adult"', between(18, None)),
        ],
    )
    def test_a_match_spec(self, load: Load, attributes: str, value: Any) -> None:
        load(f"""
            <evproc:dispatcher keywords="user role" />
            <evproc:handler handler="shop_handlers.hear" phase="during">
              <evproc:match keyword="user" value="bob" />
              <evproc:match keyword="role" {attributes} />
            </evproc:handler>
        """)

        spec = only_handler().match_spec
        assert repr(spec["role"]) == repr(value)
        assert type(spec["role"]) is type(value) and spec["user"] == "bob"

    def test_it_only_hears_what_matches(self, load: Load, module: Any) -> None:
        load("""
            <evproc:dispatcher keywords="role" start="yes" />
            <evproc:handler handler="shop_handlers.hear" phase="during">
              <evproc:match keyword="role" values="admin owner" />
            </evproc:handler>
        """)
        for role in ("admin", "user", "owner"):
            dispatcher().fire_event(role, role=role)

        assert module.seen == [("hear", "admin"), ("hear", "owner")]


class TestConflicts:
    def test_two_dispatchers_of_one_name(self, load: Load) -> None:
        with pytest.raises(ConfigurationConflictError, match=r"(?s)site\.zcml.*, line 3.*site\.zcml.*, line 4"):
            load('<evproc:dispatcher name="shop" />\n<evproc:dispatcher name="shop" keywords="user" />')

    def test_a_dispatcher_and_another_utility(self, load: Load, module: Any) -> None:
        module.ready = EventDispatcher()
        with pytest.raises(ConfigurationConflictError):
            load("""
                <include package="zope.component" file="meta.zcml" />
                <utility component="shop_handlers.ready" provides="twisted_evproc.IEventDispatcher" name="shop" />
                <evproc:dispatcher name="shop" />
            """)

    def test_the_same_handler_twice(self, load: Load) -> None:
        with pytest.raises(ConfigurationConflictError, match="evproc:handler"):
            load("""
                <evproc:dispatcher />
                <evproc:handler handler="shop_handlers.hear" phase="during" />
                <evproc:handler handler="shop_handlers.hear" phase="during" max_calls="1" />
            """)

    def test_the_same_handler_for_something_else_is_no_conflict(self, load: Load) -> None:
        load("""
            <evproc:dispatcher keywords="role" />
            <evproc:handler handler="shop_handlers.hear" phase="during" />
            <evproc:handler handler="shop_handlers.hear" phase="after" />
            <evproc:handler handler="shop_handlers.hear" phase="during" handler_name="other" />
            <evproc:handler handler="shop_handlers.hear" phase="during">
              <evproc:match keyword="role" value="admin" />
            </evproc:handler>
        """)

        assert len(dispatcher().handlers()) == 4

    def test_a_site_overrides_what_it_includes(self, load: Load) -> None:
        load(
            '<include file="base.zcml" />\n<evproc:dispatcher keywords="user role" />',
            base="""
                <evproc:dispatcher keywords="user" />
                <evproc:handler handler="shop_handlers.hear" phase="during" />
            """,
        )

        assert dispatcher().allowed_match_spec_keywords == {"user", "role"}
        assert len(dispatcher().handlers()) == 1


class TestMistakes:
    @pytest.mark.parametrize(
        ("directives", "words"),
        [
            (
                '<evproc:dispatcher />\n<evproc:handler handler="shop_handlers.hear" phase="later" />',
                "UnknownPhase: <EventDispatcher> has no phase 'later'; its phases are, in order: 'before', 'during', 'after'",
            ),
            (
                '<evproc:dispatcher keywords="user" />\n<evproc:handler handler="shop_handlers.hear" phase="during">'
                '<evproc:match keyword="role" value="admin" /></evproc:handler>',
                "KeywordNotAllowed: 'role' not among the match-spec keywords of <EventDispatcher>; allowed: 'user'",
            ),
            (
                '<evproc:dispatcher name="shop" />\n<evproc:handler handler="shop_handlers.hear" phase="during" />',
                "ComponentLookupError: no IEventDispatcher is registered under the name ''; there are: 'shop'",
            ),
            (
                '<evproc:dispatcher />\n<evproc:handler handler="shop_handlers.no_number" phase="during" />',
                "HandlerNotCallable: 'seven' cannot be a handler",
            ),
            (
                '<evproc:dispatcher />\n<evproc:handler handler="shop_handlers.hear" phase="during" max_calls="-1" />',
                "ConfigurationError: max_calls=-1 has to be a whole number",
            ),
            (
                '<evproc:dispatcher />\n<evproc:handler handler="shop_handlers.hear" phase="during" timeout="-2.5" />',
                "ConfigurationError: timeout=-2.5 has to be a number of seconds",
            ),
            ('\n<evproc:dispatcher keywords="phase" />', "KeywordReserved: 'phase' cannot be a match-spec keyword"),
            ('\n<evproc:dispatcher phases="same same" />', "ConfigurationError: phases="),
            ('\n<evproc:dispatcher on_failure="shop_handlers.hear" />', "ConfigurationError: on_failure="),
        ],
    )
    def test_what_the_dispatcher_refuses_is_said_in_its_words_with_file_and_line(
        self, load: Load, directives: str, words: str
    ) -> None:
        with pytest.raises(ConfigurationExecutionError) as raised:
            load(directives)

        assert words in str(raised.value)
        assert 'site.zcml", line 4.0' in str(raised.value)

    @pytest.mark.parametrize(
        ("match", "words"),
        [
            ('keyword="role"', "match keyword='role' takes one of value, values, glob, regex and object"),
            ('keyword="role" value="a" glob="b"', "takes one of value, values, glob, regex and object"),
            ('keyword="role" value="seven" type="int"', "match keyword='role': invalid literal for int"),
            ('keyword="role" value="perhaps" type="bool"', "'perhaps' is neither yes nor no"),
            ('keyword="role" glob="7*" type="int"', "type='int' goes with value and values, not with glob"),
            ('keyword="role" regex="("', "("),
            ('keyword="user" value="bob"', "match keyword='user' is there twice"),
            ('keyword="timeout" value="5"', "'timeout' cannot be a match-spec keyword"),
            ('keyword="use_weakref" value="yes"', "'use_weakref' cannot be a match-spec keyword"),
            ('value="bob"', "keyword"),
            ('keyword="role" value="7" type="complex"', "type"),
        ],
    )
    def test_a_match_that_makes_no_sense_is_refused_with_file_and_line(self, load: Load, match: str, words: str) -> None:
        with pytest.raises(ZopeConfigurationError) as raised:
            load(f"""<evproc:dispatcher keywords="user role" />
<evproc:handler handler="shop_handlers.hear" phase="during">
<evproc:match keyword="user" value="bob" />
<evproc:match {match} />
</evproc:handler>""")

        assert words in str(raised.value)
        assert 'site.zcml", line 6.0' in str(raised.value)

    def test_a_dispatcher_that_refuses_a_handler_by_its_deferred(self, load: Load) -> None:
        class Refusing(EventDispatcher):
            adding: Deferred[Any] = fail(OSError("no room"))

            def add_event_handler(self, *args: Any, **options: Any) -> Deferred[Any]:
                return self.adding

        register(Refusing(), "shop")
        with pytest.raises(ConfigurationExecutionError, match="OSError: no room"):
            load('<evproc:handler dispatcher="shop" handler="shop_handlers.hear" phase="during" />')

        Refusing.adding = Deferred()
        load('<evproc:handler dispatcher="shop" handler="shop_handlers.hear" phase="during" />')
        with capturedLogs() as events:
            Refusing.adding.errback(OSError("no room any more"))
        assert [str(event["log_failure"].value) for event in events] == ["no room any more"]

    def test_a_dispatcher_registered_in_python_is_not_replaced(self, load: Load) -> None:
        register(EventDispatcher(name="made in Python"), "shop")

        with pytest.raises(ConfigurationExecutionError, match="<EventDispatcher 'made in Python'> is there"):
            load('<evproc:dispatcher name="shop" />')

    def test_one_registered_by_zcml_says_where(self, load: Load) -> None:
        load('<evproc:dispatcher name="shop" />')

        with pytest.raises(ConfigurationError, match=r"is there \(File .*site\.zcml.*, line 3"):
            register(EventDispatcher(), "shop")
