"""The pages *Coming from ...* have every name that the other library documents, and all of them are in their index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parent.parent / "docs" / "coming-from"

#: What each predecessor documents: classes, methods, decorators, arguments, options, states.  Where several classes have a method
#: of that name, it is named with its class.
NAMES = {
    "twisted-event-dispatcher": """
        EventDispatcher IEventDispatcher allowed_match_spec_keywords phases before during after add_event_handler
        listen_fn phase use_weakref match_spec handler_id remove_event_handler fire_event event_details start() stop()
        running oni.twisted_event_dispatcher wait_for setup() addSystemEventTrigger fireSystemEvent IBackgroundUtility
    """,
    "evproc": """
        evproc.Event Event.name Event.ctxt Event.proc evproc.want evproc.requires evproc.required_by evproc.Processor
        Processor.register name Processor.load_from Processor.process evproc.StopProcessing retval
        evproc.EventException evproc.ProcessorReregisterException evproc.IncompatibleRequirementsException proc ev
    """,
    "event-processor": """
        event_processor EventProcessor event_processor.dependency_factory event_processor.processor messaging_service
        {} event_processor.invoke pre_processor add_subprocessor
    """,
    "polled-events": """
        EventDispatcher poll_interval EventDispatcher.start EventDispatcher.stop EventDispatcher.run
        EventDispatcher.error_handler EventDispatcher.add_event_generator EventGenerator.get_events
        EventGenerator.stop EventProcessor event_queue EventProcessor.run EventProcessor.stop
        EventProcessor.dispatch_event Event originator handler data timestamp Event.__str__ EventHandler.process_event
        EventHandler.__str__ ChainEventHandler *handlers ExecEventHandler command PrintEventHandler file stdout
        LogEncapsulator Thread
    """,
    "eventor": """
        eventor Eventor name store :memory: run_mode recovery_run logging_level config workdir logdir task_construct
        mp.Process max_concurrent stop_on_exception sleep_between_loops ev.add_event expr or_ ev.add_step func args
        kwargs triggers acquires releases recovery StepState StepStatus.ready StepStatus.active StepStatus.success
        StepStatus.failure StepStatus.complete StateStatus StepReplay.rerun StepReplay.skip ev.add_assoc event *assocs
        delay ev.trigger_event sequence __call__ max_loops RunMode.restart RunMode.recover RunMode.continue_
        EVENTOR_STEP_SEQUENCE Resource ResourcePool resource_cls policy resource_limit .load()
        acris.virtual_resource_pool
    """,
}

CASES = [pytest.param(page, name, id=f"{page}: {name}") for page, names in NAMES.items() for name in names.split()]


def text_of(page: str) -> str:
    return (PAGES / f"{page}.rst").read_text(encoding="utf-8")


def their_names(text: str) -> list[str]:
    """The literals in the first column of the page's tables."""
    cells = re.findall(r"^   \* - (.*?)(?=^     - )", text, re.MULTILINE | re.DOTALL)
    return [literal for cell in cells for literal in re.findall(r"``(.+?)``", cell, re.DOTALL)]


def has(text: str, name: str) -> bool:
    whole = re.compile(rf"(?<![\w.]){re.escape(name)}(?!\w)")
    return any(whole.search(literal) for literal in their_names(text))


@pytest.mark.parametrize(("page", "name"), CASES)
def test_every_name_of_theirs_stands_beside_ours(page: str, name: str) -> None:
    assert has(text_of(page), name), f"docs/coming-from/{page}.rst: no table has {name!r} in its first column"


def test_every_page_is_in_the_index() -> None:
    pages = {page.stem for page in PAGES.glob("*.rst")} - {"index"}
    listed = re.findall(r"^   ([\w-]+)$", text_of("index").partition(".. toctree::")[2], re.MULTILINE)

    assert sorted(listed) == sorted(pages)
    assert set(NAMES) < pages


@pytest.mark.parametrize("page", sorted({page.stem for page in PAGES.glob("*.rst")} - {"index"}))
def test_every_page_has_a_table_a_listing_and_the_differences(page: str) -> None:
    text = text_of(page)

    assert their_names(text)
    assert re.search(r"^>>> ", text, re.MULTILINE)
    assert re.search(r"^What behaves differently\n-+\n\n- \*\*", text, re.MULTILINE)


class TestTheControls:
    TABLE = """
.. list-table::

   * - ``Event.name``, ``start()``
     - ``Other``
"""

    @pytest.mark.parametrize("name", ["Event.name", "Event", "start", "start()"])
    def test_a_name_in_the_first_column_is_found(self, name: str) -> None:
        assert has(self.TABLE, name)

    @pytest.mark.parametrize("name", ["name", "Other", "Even", "restart"])
    def test_another_is_not(self, name: str) -> None:
        assert not has(self.TABLE, name)
