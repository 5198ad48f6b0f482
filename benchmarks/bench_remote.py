"""Builds over a remote: one that hangs, one that serves.

The project is that of `bench_rebuild`: each step includes ten headers. A remote that hangs takes
connections and says nothing: the first build after it fell silent waits for it, until the guard's
deadline; those that follow know, from a file, that it is not to be asked.

A remote that serves is `vcache serve` on this machine. Its peer is ninja with ccache over the same
server; both begin with an empty cache of their own, as a CI job does.
"""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench_rebuild import write_project
from benchmarks.commands import environ_of, installed, run_ms, tool, turns
from benchmarks.measure import Scale
from benchmarks.result import Compare, Row
from tests.servers import vcache_serve

TITLE = "builds over a remote"

_OURS = "vcache build"
_DEADLINE_MS = 5000.0


def run(scale: Scale, directory: Path) -> list[Row]:
    """A remote that hangs, and one that serves."""
    vcache = installed(directory / "bin")
    steps = scale.pick(1000, 5)
    environ = environ_of(directory)
    return [
        *_hanging(scale, directory / "hanging", vcache, environ, steps),
        *_serving(scale, directory / "serving", vcache, environ, steps),
    ]


def _hanging(scale: Scale, place: Path, vcache: str, environ: Mapping[str, str], steps: int) -> list[Row]:
    write_project(place, steps)
    build = [vcache, "build", "-f", "build.ninja"]
    alone = {**environ, "VCACHE_DIR": str(place / "cache")}
    run_ms(build, place, alone)
    with _silent() as address:
        remote = {**alone, "VCACHE_REMOTE": address}

        def warm(env: Mapping[str, str]) -> float:
            shutil.rmtree(place / "obj")
            shutil.rmtree(place / ".vcache")
            return run_ms(build, place, env)

        def first() -> float:
            shutil.rmtree(place / "cache/remotes", ignore_errors=True)
            return warm(remote)

        def later() -> float:
            return warm(remote)

        rounds = scale.pick(5, 1)
        once = turns({"the first build": first, "no remote": lambda: warm(alone)}, rounds)
        again = turns({"the next build": later, "no remote": lambda: warm(alone)}, scale.pick(7, 1))
    what = f"{steps:,} cached steps, a remote that hangs"
    return [
        Row(what, Compare.PLUS, "ms", once["the first build"], once["no remote"], _DEADLINE_MS,
            note="the bound is one deadline, 5 s"),
        Row(f"{what}: the builds after it", Compare.PLUS, "ms", again["the next build"], again["no remote"]),
    ]  # fmt: skip


def _serving(scale: Scale, place: Path, vcache: str, environ: Mapping[str, str], steps: int) -> list[Row]:
    sides = {"vcache build": place / "ours", "ninja with ccache": place / "theirs"}
    with vcache_serve(place / "store") as server:
        ours = {**environ, "VCACHE_DIR": str(place / "our-cache"), "VCACHE_REMOTE": server.url}
        theirs = {
            **environ,
            "CCACHE_DIR": str(place / "their-cache"),
            "CCACHE_REMOTE_STORAGE": f"{server.url}/ccache",
        }
        write_project(sides["vcache build"], steps)
        write_project(sides["ninja with ccache"], steps, launcher=f"{tool('ccache')} ")

        def built() -> float:
            shutil.rmtree(place / "our-cache", ignore_errors=True)
            _clean(sides["vcache build"])
            return run_ms([vcache, "build", "-f", "build.ninja"], sides["vcache build"], ours)

        def built_by_ccache() -> float:
            shutil.rmtree(place / "their-cache", ignore_errors=True)
            _clean(sides["ninja with ccache"])
            return run_ms([tool("ninja")], sides["ninja with ccache"], theirs)

        built(), built_by_ccache()
        times = turns({"vcache build": built, "ninja with ccache": built_by_ccache}, scale.pick(5, 1))
    what = f"{steps:,} steps into an empty cache from a server on this machine"
    return [
        Row(what, Compare.FASTER, "ms", times["vcache build"], times["ninja with ccache"],
            note="the whole build, -j of 2 cores")
    ]  # fmt: skip


def _clean(place: Path) -> None:
    for name in ("obj", ".vcache", ".ninja_log", ".ninja_deps"):
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:

        def take() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/base"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
    for connection in held:
        connection.close()
