"""How results look without a terminal, and with one."""

from __future__ import annotations

import io
import sys

import pytest

from vcache.cli.setup import Setup
from vcache.cli.show import ago, pairs, progress, shown_name, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_columns_are_aligned(capsys):
    """Cells go to their side, lines carry no trailing blanks"""
    table((("n", ">"), ("name", "<"), ("x", "<")), [("1", "a", ""), ("100", "bcdefg", "")])
    assert capsys.readouterr().out == "  n  name    x\n  1  a\n100  bcdefg\n"


def test_a_table_without_rows(capsys):
    """No rows are a heading"""
    table((("n", ">"), ("name", "<")), [])
    assert capsys.readouterr().out == "n  name\n"


def test_pairs_are_aligned(capsys):
    """Values start in one column"""
    pairs([("a", "1"), ("long", "2")])
    assert capsys.readouterr().out == "a     1\nlong  2\n"


def test_a_terminal_gets_a_drawn_table(monkeypatch):
    """On a terminal rich draws the table; a name that looks like markup is shown as it is"""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    table((("key", "<"),), [("[red]x[/red]",)])
    assert "[red]x[/red]" in terminal.getvalue()
    assert "─" in terminal.getvalue()


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_plain_text(monkeypatch, variable, value):
    """NO_COLOR and a dumb terminal get what a pipe gets"""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, value)
    table((("key", "<"),), [("a",)])
    assert terminal.getvalue() == "key\na\n"


def test_a_bar_is_for_terminals_only(monkeypatch):
    """Work reports its progress where somebody sees it, and not when they asked for quiet"""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    setup = Setup()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress(setup, "reading") as step:
        assert step is None
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress(setup, "reading") as step:
        assert step is not None
        step("verify", 1, 2)
    setup.is_quiet = True
    with progress(setup, "reading") as step:
        assert step is None


def test_names_are_shown_on_one_line():
    """Bytes in hex, control characters escaped, prefixes protected"""
    assert shown_name(b"\x00a") == "hex:0061"
    assert shown_name("hex:0") == "str:hex:0"
    assert shown_name("a\nb") == "a\\nb"
    assert shown_name("\udcff") == "\\udcff"


def test_ages():
    """The past and the future read differently"""
    assert ago(0, 90 * 10**9) == "1m 30s ago"
    assert ago(10**9 * 7200, 0) == "in 2h"
