from __future__ import annotations

import sys

import pytest

from vcache.errors import UsageError
from vcache.kit.tables import SUFFIXES, parse_table


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".toml", 'dir = "x"\n[flags]\na = 25\n'),
        (".json", '{"dir": "x", "flags": {"a": 25}}'),
        (".yaml", "dir: x\nflags:\n  a: 25\n"),
        (".yml", "dir: x\nflags: {a: 25}\n"),
    ],
)
def test_one_table_in_every_format(suffix: str, text: str) -> None:
    """the same settings read the same from TOML, JSON and YAML"""
    assert parse_table(text, suffix) == {"dir": "x", "flags": {"a": 25}}


def test_an_ini_file_is_sections_of_text() -> None:
    """an INI file gives its sections, with text values and no interpolation"""
    assert parse_table("[vcache]\ndir = %(x)s\n[flags]\na=25\n", ".ini") == {
        "vcache": {"dir": "%(x)s"},
        "flags": {"a": "25"},
    }


@pytest.mark.parametrize("suffix", [".toml", ".json", ".ini", ".yaml"])
def test_text_of_another_format_is_refused(suffix: str) -> None:
    """text that is not of the format raises with the format's name"""
    with pytest.raises(UsageError, match=suffix[1:].upper()):
        parse_table("{ : [", suffix)


def test_what_is_no_table_is_refused() -> None:
    """a list raises, an empty YAML file is an empty table, an unknown suffix names the known"""
    with pytest.raises(UsageError, match="holds a list"):
        parse_table("[1]", ".json")
    assert parse_table("", ".yaml") == {}
    with pytest.raises(UsageError, match=r"'\.xml'.*\.toml"):
        parse_table("", ".xml")
    assert ".toml" in SUFFIXES


def test_yaml_runs_no_code() -> None:
    """a YAML tag that would build a Python object is refused"""
    with pytest.raises(UsageError, match="YAML"):
        parse_table("a: !!python/object/apply:os.getcwd []", ".yaml")


def test_yaml_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """where PyYAML is not installed, the error says what to install"""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(UsageError, match=r"vcache\[yaml\]"):
        parse_table("a: 1", ".yaml")
