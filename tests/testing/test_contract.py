"""The fake dispatcher passes the contract of the real one, under every runner of tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from twisted_evproc.testing import DispatcherContract, FailurePolicyContract, FakeDispatcher

ROOT = Path(__file__).parents[2]


class TestFakeDispatcher(DispatcherContract, FailurePolicyContract):
    def make_dispatcher(self, **options: Any) -> FakeDispatcher:
        return FakeDispatcher(**options)


@pytest.mark.parametrize(
    ("runner", "test_case"),
    [("unittest", "unittest.TestCase"), ("twisted.trial", "twisted.trial.unittest.SynchronousTestCase")],
)
def test_also_under_other_runners(tmp_path: Path, runner: str, test_case: str) -> None:
    (tmp_path / "test_fake.py").write_text(
        dedent(f"""
            import {test_case.rpartition(".")[0]}
            from twisted_evproc.testing import DispatcherContract, FailurePolicyContract, FakeDispatcher

            class TestFake(DispatcherContract, FailurePolicyContract, {test_case}):
                def make_dispatcher(self, **options):
                    return FakeDispatcher(**options)
        """),
        encoding="utf-8",
    )
    child = subprocess.run(
        [sys.executable, "-m", runner, "test_fake"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    said = child.stdout + child.stderr
    assert child.returncode == 0, said
    match = re.search(r"Ran (\d+) tests", said)
    assert match is not None and int(match[1]) > 100, said


class Deaf(FakeDispatcher):
    """Ignores match-specs."""

    def fire_event(self, event: Any, /, **details: Any) -> Any:
        return super().fire_event(event)


class Lenient(FakeDispatcher):
    """Takes any keyword."""

    def __init__(self, allowed_match_spec_keywords: Any = None, *args: Any, **options: Any) -> None:
        super().__init__(None, *args, **options)


class Late(FakeDispatcher):
    """Lets nobody wait for what still runs."""

    def stop(self, timeout: float | None = None) -> Deferred[None]:
        super().stop(timeout)
        return succeed(None)

    def remove_event_handler(self, event_handler_id: Any) -> Deferred[None]:
        super().remove_event_handler(event_handler_id)
        return succeed(None)


class Flat(FakeDispatcher):
    """Ignores requirements and limits."""

    def add_event_handler(self, listen_fn: Any, phase: str, use_weakref: bool = False, **options: Any) -> Any:
        for option in ("requires", "max_calls", "timeout"):
            options.pop(option, None)
        return super().add_event_handler(listen_fn, phase, **options)


class TestContractsFail:
    """The tests of the contract find those who break it."""

    @pytest.fixture(autouse=True)
    def no_dropped_failure(self) -> None:
        """What the broken ones drop is the subject here, and no failure of these tests."""

    @pytest.mark.parametrize(
        ("broken", "found"),
        [
            (Deaf, "test_a_match_spec_is_a_subset_of_the_details"),
            (Deaf, "test_outcome_what_it_tells"),
            (Lenient, "test_a_keyword_that_is_not_allowed_is_refused_at_once"),
            (Late, "test_stop_takes_no_new_firing_and_waits_for_the_running_ones"),
            (Late, "test_removal_waits_for_the_running_calls"),
            (Late, "test_removing_an_unknown_id_fails_with_a_lookup_error"),
            (Flat, "test_required_handlers_come_first"),
            (Flat, "test_max_calls_never_more_than_n_calls_then_removed"),
            (Flat, "test_time_out_the_deferred_is_cancelled_and_the_handler_counts_as_failed"),
            (Flat, "test_weak_functions_and_bound_methods_go_with_their_owner"),
        ],
    )
    def test_of_dispatchers(self, broken: type[FakeDispatcher], found: str) -> None:
        class Broken(DispatcherContract):
            def make_dispatcher(self, **options: Any) -> FakeDispatcher:
                return broken(**options)

        with pytest.raises((AssertionError, KeyError)):
            getattr(Broken(), found)()

    def test_without_its_hook_it_says_so(self) -> None:
        with pytest.raises(NotImplementedError, match=r"DispatcherContract has to define make_dispatcher\(\*\*options\)"):
            DispatcherContract().test_it_provides_its_interfaces()
