"""The group: help, errors, exit codes, and what a start loads."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from vcache.cli import cli
from vcache.cli.app import App
from vcache.errors import StoreFull

COMMANDS = [
    "get", "put", "rm", "ls", "info", "stats", "gc", "verify", "doctor", "run", "cc", "build", "graph",
    "why", "why-not", "clean", "compdb", "log", "logs", "jobs", "worker", "schedule", "history", "diff", "gocacheprog", "token",
    "trust", "audit",
    "push", "pull", "export", "import", "serve", "env", "completion",
]  # fmt: skip


def test_every_command_is_there_and_documented(vcache):
    """--help lists all commands; each has help of its own, and so has each of its options"""
    text = vcache("--help").stdout
    context = click.Context(cli)
    assert cli.list_commands(context) == COMMANDS
    for name in COMMANDS:
        assert f"\n  {name} " in text
        command = cli.get_command(context, name)
        assert command is not None and command.help and command.short_help
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, (name, parameter.name)
        assert vcache(name, "--help").exit_code == 0


def test_version(vcache):
    """--version prints name and version"""
    assert vcache("--version").stdout.startswith("vcache 0.")


def test_an_unknown_command_names_the_nearest(vcache):
    """A slip is a usage error with a hint"""
    result = vcache("stat")
    assert result.exit_code == 2
    assert "'stats'" in result.stderr


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(32, "x"), 141),
        (StoreFull("no room"), 1),
        (OSError(5, "bad", "f"), 1),
    ],
)
def test_errors_are_exit_codes(vcache, monkeypatch, error, status):
    """Ctrl-C, a closed pipe and a failing store end the command by number, without a traceback"""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("vcache.cli.setup.Setup.open", fail)
    monkeypatch.setattr("vcache.cli.ends._hush", lambda: 141)
    result = vcache("ls")
    assert result.exit_code == status
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_the_group_loads_one_command():
    """An App asks for a module by its command's name only"""
    assert App("x", homes={}, package="vcache.cli").get_command(click.Context(cli), "nobody") is None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(vcache, shell):
    """Each shell gets a script that asks vcache"""
    result = vcache("completion", shell)
    assert result.exit_code == 0
    assert "_VCACHE_COMPLETE" in result.stdout


def test_keys_are_completed(vcache, cache, monkeypatch):
    """The names in the cache complete the argument KEY; a broken cache completes nothing"""
    from click.shell_completion import ShellComplete

    cache.put("parser::a", 1)
    cache.put("other", 1)
    complete = ShellComplete(cli, {}, "vcache", "_VCACHE_COMPLETE")
    assert [item.value for item in complete.get_completions(["get"], "pars")] == ["parser::a"]
    monkeypatch.setenv("VCACHE_MAX_BYTES", "lots")
    assert complete.get_completions(["get"], "pars") == []


def test_a_start_loads_only_what_it_needs(tmp_path):
    """`vcache stats` imports neither rich nor fingerprints nor serialisers"""
    script = (
        "import sys; from vcache.cli import cli\n"
        f"cli.main(['stats', '--dir', {str(tmp_path / 'c')!r}], standalone_mode=False)\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "vcache.store.disk.store" in loaded
    for name in (
        "rich",
        "json",
        "subprocess",
        "asyncio",
        "msgpack",
        "lz4",
        "vcache.serialize",
        "vcache.cache",
    ):
        assert name not in loaded, name
    assert not any(
        name.startswith(("vcache.fingerprint", "vcache.jobs", "vcache.cli.jobs", "rich.")) for name in loaded
    )
