"""One build of one tree: what is kept of it for the next, in this process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from vcache.cache import Cache
from vcache.dag import events
from vcache.dag.frozen import DIRECTORY
from vcache.dag.session import Build, Options
from vcache.discovery import begin
from vcache.errors import GraphError
from vcache.kit.fs_atomic import LockFile

NINJA = """\
rule cat
  command = cat $in > $out
rule cc
  command = cat $in a.h > $out && echo $out: $in a.h > $out.d
  depfile = $out.d
  deps = gcc
build a.o: cc a.c
build b.o: cc b.c
build app: cat a.o b.o
default app
"""


class Ear:
    """Hears all that happens."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_event(self, event: events.Event) -> None:
        self.events.append(event)

    def ran(self) -> set[str]:
        return {event.node.name for event in self.events if isinstance(event, events.Started)}


class Place:
    def __init__(self, base: Path, cache: Cache) -> None:
        self.base, self.cache, self.ear = base, cache, Ear()

    def build(self, **options: Any) -> Build:
        self.ear = Ear()
        return Build(
            self.cache, base=str(self.base), listeners=[self.ear], options=Options(jobs=2, **options)
        )

    def ninja(self, *targets: str, **options: Any) -> events.RunEnded:
        begin(waits=True)  # what was written before has an older time
        return self.build(**options).ninja("build.ninja", targets)


@pytest.fixture
def place(tmp_path: Path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "build.ninja").write_text(NINJA)
    for name in ("a.c", "b.c", "a.h"):
        (base / name).write_text(name)
    with Cache(f"disk:{tmp_path / 'cache'}", root=base) as cache:
        yield Place(base, cache)


def test_a_second_run_looks_at_changes_only(place: Place):
    """Of a graph that was built, only what a change reaches is asked about."""
    assert place.ninja().n_run == 3
    assert place.ninja().n_up_to_date == 0
    (place.base / "b.c").write_text("changed")
    ended = place.ninja()
    assert place.ear.ran() == {"b.o", "app"}
    assert (ended.n_run, ended.n_up_to_date) == (2, 0)


def test_a_header_stands_for_who_reads_it(place: Place):
    """`a.h^` makes an output that was found to read it."""
    place.ninja()
    (place.base / "a.h").write_text("changed")
    place.ninja("a.h^")
    assert place.ear.ran() in ({"a.o"}, {"b.o"})


def test_a_wrong_file_ends_the_run_with_its_words(place: Place):
    """Listeners hear the end of it, too."""
    (place.base / "build.ninja").write_text("build x: nothing\n")
    with pytest.raises(GraphError, match="unknown build rule 'nothing'"):
        place.ninja()
    ended = place.ear.events[-1]
    assert isinstance(ended, events.RunEnded)
    assert ended.status == 2
    assert "unknown build rule" in ended.error


def test_a_second_build_waits_for_the_first(place: Place):
    """And says so; then it finds what the first has made."""
    (place.base / DIRECTORY).mkdir()
    held, told = threading.Event(), threading.Event()

    def first() -> None:
        with LockFile(str(place.base / DIRECTORY / "lock")):
            held.set()
            told.wait(10)

    class Noticing(Ear):
        def on_event(self, event: events.Event) -> None:
            super().on_event(event)
            if isinstance(event, events.Noted):
                told.set()

    thread = threading.Thread(target=first)
    thread.start()
    held.wait(10)
    begin(waits=True)
    ear = Noticing()
    second = Build(place.cache, base=str(place.base), listeners=[ear], options=Options(jobs=2))
    assert second.ninja().status == 0
    thread.join()
    assert ["waiting for it" in event.text for event in ear.events if isinstance(event, events.Noted)] == [
        True
    ]


def test_what_only_a_body_asks_for_can_be_a_goal(place: Place):
    """The body is asked in a dry run; a name that nobody knows is refused with the nearest."""
    (place.base / "vcachefile.py").write_text(
        "from vcache.dag import build, need, sh\n"
        '@build.step(outs=["{name}.out"])\ndef part(name: str):\n    return sh("echo part > $1", build.out(0))\n'
        '@build.step(outs=["all"])\nasync def whole():\n    parts = await need(part("x"), part("y"))\n'
        '    return sh("cat $@ > all", *parts)\n'
        "build.default(whole)\n"
    )
    assert place.build(is_strict=True).vcachefile("vcachefile.py", ["x.out"]).n_run == 1
    assert (place.base / "x.out").exists()
    assert not (place.base / "all").exists()
    with pytest.raises(GraphError, match=r"did you mean .*x\.out"):
        place.build(is_strict=True).vcachefile("vcachefile.py", ["x.ou"])


def test_without_a_place_to_remember_it_builds_all_the_same(place: Place):
    """A state that cannot be read is as if absent."""
    place.ninja()
    for path in (place.base / DIRECTORY).iterdir():
        if path.is_file():
            path.write_bytes(b"nonsense")
    ended = place.ninja()
    assert (ended.status, ended.n_run) == (0, 0)


SAYING = """\
rule cc
  command = cd . && CC=1 true; echo "a.c:1:2: warning: w [-Wx]" >&2 && cp $in $out
rule bad
  command = /usr/bin/env false --x
build a.o: cc a.c
build b.o: bad b.c
default a.o
"""


def test_what_is_replayed_names_its_run_and_ends_where_it_is_said(place: Place):
    """A hit tells the run that made it, and its output keeps its distances, none of them in the future."""
    (place.base / "build.ninja").write_text(SAYING)
    first = place.build()
    assert first.ninja().n_run == 1
    (fresh,) = (event for event in place.ear.events if isinstance(event, events.Output))
    (place.base / "a.o").unlink()
    assert place.build().ninja().n_hit == 1
    (again,) = (event for event in place.ear.events if isinstance(event, events.Output))
    (hit,) = (event for event in place.ear.events if isinstance(event, events.Hit))
    assert (fresh.origin, again.origin, hit.origin) == ("", first.run, first.run)
    assert (again.chunks, again.action, again.program) == (fresh.chunks, fresh.action, fresh.program)
    assert len(fresh.action) == 64
    assert again.started_ns + max(at_ns for _, at_ns, _ in again.chunks) <= again.at_ns
    assert again.started_ns == again.at_ns - hit.saved_ns


def test_a_result_that_does_not_say_who_made_it_is_taken(place: Place, monkeypatch: pytest.MonkeyPatch):
    """Its origin is not known."""
    from vcache.action import Actions

    publish = Actions.publish
    monkeypatch.setattr(
        Actions, "publish", lambda *args, **kwargs: publish(*args, **{**kwargs, "origin": ""})
    )
    (place.base / "build.ninja").write_text(SAYING)
    place.ninja()
    (place.base / "a.o").unlink()
    assert place.ninja().n_hit == 1
    (again,) = (event for event in place.ear.events if isinstance(event, events.Output))
    assert again.is_replayed
    assert again.origin == ""


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ({"argv": ("/usr/bin/gcc", "-c", "a.c")}, "gcc"),
        ({"argv": ("vcache", "cc", "clang++-17", "-c")}, "clang++-17"),
        ({"shell": "cd sub && LC_ALL=C ccache /opt/bin/x86_64-linux-gnu-gcc-12 -c a.c"}, "x86_64-linux-gnu-gcc-12"),
        ({"shell": "env -i A=b cc -c a.c"}, "cc"),
        ({"shell": ""}, ""),
    ],
    ids=["argv", "wrapper", "shell", "env", "nothing"],
)  # fmt: skip
def test_the_program_of_a_command_is_not_its_wrapper(command: dict[str, Any], program: str):
    """Nor a shell's way there."""
    from vcache.dag.evaluate import program_of
    from vcache.dag.node import Command

    assert program_of(Command(**command)) == program
