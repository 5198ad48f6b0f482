"""Names that are loaded on first use."""

from __future__ import annotations

import sys

import pytest

from vcache.kit.lazy import on_first_use


def test_a_name_is_loaded_once_and_stays():
    """Its module is imported when it is asked for, and the package has it from then on."""
    package: dict[str, object] = {"__name__": "xml"}
    load = on_first_use(package, {"parse": "dom.minidom"})
    found = load("parse")
    assert package["parse"] is found is sys.modules["xml.dom.minidom"].parse


def test_modules_may_stand_below_another_package():
    """`base` says which."""
    package: dict[str, object] = {"__name__": "mine"}
    assert on_first_use(package, {"Sequence": "abc"}, base="collections")("Sequence") is package["Sequence"]


def test_another_name_is_none_of_it():
    """As Python says it of any module, and nothing is kept."""
    package: dict[str, object] = {"__name__": "xml"}
    with pytest.raises(AttributeError, match="module 'xml' has no attribute 'quux'"):
        on_first_use(package, {})("quux")
    assert package == {"__name__": "xml"}
