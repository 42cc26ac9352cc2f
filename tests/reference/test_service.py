"""The reference page of services says what there is: every service, function, option and ZCML attribute, and no other."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.application.service import IService
from zope.schema import getFieldNamesInOrder

from tests.pages import called, literals, options, pairs, section_of, table, tables, wrong_calls
from twisted_evproc import service
from twisted_evproc.service import SystemEvent, _zcml, bridge_system_events, look_up, register, unregister

PAGE = "reference/service"


def test_every_service() -> None:
    services = [
        name
        for name in service.__all__
        if isinstance(getattr(service, name), type) and IService.implementedBy(getattr(service, name))
    ]
    rows = table(PAGE, "Service")
    assert sorted(called(rows)) == sorted(services)
    assert wrong_calls(rows, service) == []


def test_every_function_of_utilities_with_its_options() -> None:
    rows = table(PAGE, "Function")
    assert called(rows) == ["register", "unregister", "look_up"]
    written = pairs(table(PAGE, "Option", section="Utilities"))
    for name, function in (("register", register), ("unregister", unregister), ("look_up", look_up)):
        plain = [each for each in options(function) if each not in written]
        assert [row for row in rows if row[0].startswith(f"``{name}({', '.join(plain)}=")]
        assert {each: default for each, default in options(function).items() if each not in plain} == (
            written if name == "register" else {each: default for each, default in written.items() if each != "info"}
        )


@pytest.mark.parametrize(
    ("directive", "schema"),
    [("dispatcher", _zcml.IDispatcherDirective), ("handler", _zcml.IHandlerDirective), ("match", _zcml.IMatchDirective)],
)
def test_every_attribute_of_a_directive(directive: str, schema: Any) -> None:
    [found] = [each for each in tables(PAGE) if each.title.startswith(f"``{directive}``")]
    assert sorted(literals(found.rows)) == sorted(getFieldNamesInOrder(schema))
    for row in found.rows:
        required = [schema[name].required and schema[name].default is None for name in literals([row])]
        assert required == [row[1].endswith("required")] * len(required)


def test_every_type_and_policy_that_zcml_knows() -> None:
    section = section_of(PAGE, "ZCML")
    assert all(f"``{name}``" in section for name in (*_zcml._TYPES, *_zcml._POLICIES))


def test_every_option_of_the_bridge() -> None:
    written = pairs(table(PAGE, section="The reactor's events"))
    assert {"dispatcher": "", "reactor": "", **written} == options(bridge_system_events)
    assert all(f"``{name}``" in section_of(PAGE, "The reactor's events") for name in attrs.fields_dict(SystemEvent))
