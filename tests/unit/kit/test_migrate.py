from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vcache.errors import FormatError, StoreReadOnly, UsageError
from vcache.kit import migrate
from vcache.kit.fs_atomic import LockFile
from vcache.kit.migrate import Migrated, Migrations


def history(current: int = 3) -> tuple[Migrations, list[int]]:
    """A format of three versions, and the steps that ran."""
    ran: list[int] = []
    migrations = Migrations("demo", current)
    for version in range(1, current):

        @migrations.step(version)
        def step(directory: Path, version: int = version) -> None:
            ran.append(version)
            (directory / f"made-by-{version}").touch()

    return migrations, ran


def mark(directory: Path, text: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "FORMAT").write_text(text)
    return directory


def test_a_new_directory_is_marked_with_the_current_version(tmp_path: Path) -> None:
    """where there is nothing, nothing is migrated and the current version is marked"""
    migrations, ran = history()
    assert migrations.ensure(tmp_path / "new" / "deep") == Migrated(None, 3)
    assert (tmp_path / "new" / "deep" / "FORMAT").read_text() == "demo 3\n"
    assert ran == []


def test_an_old_directory_goes_through_every_step(tmp_path: Path) -> None:
    """version 1 becomes 3 by its two steps in order, once"""
    migrations, ran = history()
    assert migrations.ensure(mark(tmp_path, "demo 1")) == Migrated(1, 3)
    assert migrations.ensure(tmp_path) == Migrated(3, 3)
    assert ran == [1, 2]


def test_an_interrupted_migration_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """a step that failed is repeated; those before it are not"""
    migrations, ran = history(2)
    grown = Migrations("demo", 3)
    grown.step(1)(migrations._steps[1])
    broken = [True]

    @grown.step(2)
    def second(directory: Path) -> None:
        ran.append(2)
        if broken:
            raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        grown.ensure(mark(tmp_path, "demo 1"))
    assert grown.version(tmp_path) == 2
    broken.clear()
    assert grown.ensure(tmp_path) == Migrated(2, 3)
    assert ran == [1, 2, 2]


def test_a_migration_survives_kill_9(tmp_path: Path) -> None:
    """killed in the middle of a step, the next process repeats that step and finishes"""
    code = """
import os, signal, sys
from pathlib import Path
from vcache.kit.fs_atomic import LockFile
from vcache.kit.migrate import Migrations
m = Migrations("demo", 3)
@m.step(1)
def one(directory): (directory / "log").open("a").write("one ")
@m.step(2)
def two(directory):
    (directory / "log").open("a").write("two ")
    if sys.argv[2] == "die": os.kill(os.getpid(), signal.SIGKILL)
m.ensure(Path(sys.argv[1]), timeout_s=30)
"""
    mark(tmp_path, "demo 1")
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run([*command, "die"], check=False).returncode == -signal.SIGKILL
    assert (tmp_path / "FORMAT").read_text() == "demo 2\n"
    subprocess.run([*command, "live"], check=True)
    assert (tmp_path / "FORMAT").read_text() == "demo 3\n"
    assert (tmp_path / "log").read_text() == "one two two "


def test_of_many_processes_one_migrates(tmp_path: Path) -> None:
    """four processes that open an old directory at once run each step once"""
    code = """
import sys
from pathlib import Path
from vcache.kit.fs_atomic import LockFile
from vcache.kit.migrate import Migrations
m = Migrations("demo", 2)
@m.step(1)
def one(directory): (directory / "log").open("a").write("one ")
m.ensure(Path(sys.argv[1]), timeout_s=30)
"""
    mark(tmp_path, "demo 1")
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [each.wait() for each in running] == [0] * 4
    assert (tmp_path / "log").read_text() == "one "


def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    """a newer version raises with both versions and the remedy, and nothing is touched"""
    migrations, _ = history()
    before = os.stat(mark(tmp_path, "demo 7")).st_mtime_ns
    with pytest.raises(FormatError, match=r"demo 7.*up to 3.*newer program") as caught:
        migrations.ensure(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert os.listdir(tmp_path) == ["FORMAT"]
    assert os.stat(tmp_path).st_mtime_ns == before


@pytest.mark.parametrize(
    "text", ["", "other 3", "demo", "demo three", "demo 3 4", "\x00\xff binary", "demo -1"]
)
def test_a_foreign_marker_is_left_alone(tmp_path: Path, text: str) -> None:
    """a marker that is not ours raises with its text"""
    migrations, _ = history()
    mark(tmp_path, text)
    with pytest.raises(FormatError, match="not ours"):
        migrations.ensure(tmp_path)
    assert (tmp_path / "FORMAT").read_text() == text


def test_files_without_a_marker_are_left_alone(tmp_path: Path) -> None:
    """a directory that holds something else is not taken over"""
    migrations, _ = history()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FormatError, match=r"thesis\.tex"):
        migrations.ensure(tmp_path)
    assert not (tmp_path / "FORMAT").exists()


def test_a_missing_step_names_the_version(tmp_path: Path) -> None:
    """a version that no step leads on from raises with it and the remedy"""
    with pytest.raises(FormatError, match=r"leads on from 1.*Remove"):
        Migrations("demo", 2).ensure(mark(tmp_path, "demo 1"))


@pytest.mark.parametrize(("text", "state"), [("demo 1", "is demo 1"), (None, "is new")])
def test_a_read_only_directory_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, state: str
) -> None:
    """work to do in a directory without write permission raises StoreReadOnly"""
    migrations, _ = history()
    if text:
        mark(tmp_path, text)

    class Refusing(LockFile):
        # Tests may run as root, whom no permission bits stop.
        def acquire(self, timeout_s: float | None = None) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(migrate, "LockFile", Refusing)
    with pytest.raises(StoreReadOnly, match=f"{state}.*demo 3"):
        migrations.ensure(tmp_path)


def test_a_current_directory_needs_no_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """a directory of the current version is opened without lock or write"""
    migrations, _ = history()
    mark(tmp_path, "demo 3")
    monkeypatch.delattr(migrate, "LockFile")
    monkeypatch.delattr(migrate, "write_atomic")
    assert migrations.ensure(tmp_path) == Migrated(3, 3)


def test_a_double_step_is_refused() -> None:
    """two steps from one version, or a step past the current one, raise"""
    migrations, _ = history()
    for version in (1, 3, 0):
        with pytest.raises(UsageError, match=f"version {version}"):
            migrations.step(version)
    with pytest.raises(UsageError, match="two words"):
        Migrations("two words", 1)
