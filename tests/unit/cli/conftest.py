"""The command in this process, over a directory of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.dag import runs as some
from vcache.cache import Cache
from vcache.cli import cli
from vcache.dag.journal import Journal
from vcache.entry import make_key

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without settings above it, and none of the user's."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("VCACHE_DIR", str(tmp_path / "cache"))
    return work


@pytest.fixture
def vcache() -> Run:
    """Run the command; its outcome."""

    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="vcache")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def cache(tmp_path: Path):
    """The library's view of the same directory."""
    with Cache(f"disk:{tmp_path / 'cache'}") as opened:
        yield opened


@pytest.fixture
def record(elsewhere: Path):
    """Write down a run in the working directory."""

    def write(number: int, events, *, base: Path | None = None) -> str:
        run = f"{some.RUN}{number}"
        listener = Journal(str(base or elsewhere), run)
        for event in [some.started(number), *events]:
            listener.on_event(event)
        listener.close()
        return run

    return write


@pytest.fixture
def keep_log(cache):
    """Put what a node wrote into the cache, as the runner does; its digest."""

    def put(number: int, *chunks: tuple[int, int, bytes]) -> bytes:
        digest = bytes([number]) * 32
        cache.put_key(make_key(digest.hex(), namespace=".logs"), [list(chunk) for chunk in chunks])
        return digest

    return put
