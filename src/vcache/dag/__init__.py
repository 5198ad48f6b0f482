"""Builds: a graph of cached nodes, with the words that a vcachefile is written in."""

from __future__ import annotations

TYPE_CHECKING = False  # what mypy understands as well: importing typing costs the clean path 10 ms
if TYPE_CHECKING:
    from vcache.dag.capture import Record
    from vcache.dag.front.build import Build, build
    from vcache.dag.front.targets import Target, need
    from vcache.dag.front.words import Cmd, cmd, sh
    from vcache.dag.reports import Rows
    from vcache.fingerprint.inputs import Dir, Env, File, Glob

__all__ = [
    "Build",
    "Cmd",
    "Dir",
    "Env",
    "File",
    "Glob",
    "Record",
    "Rows",
    "Target",
    "build",
    "cmd",
    "need",
    "sh",
]

# Loaded on first use: the clean path of a build imports this package, and no front end.
_HOMES = {
    "Build": "dag.front.build",
    "Cmd": "dag.front.words",
    "Record": "dag.capture",
    "Rows": "dag.reports",
    "Target": "dag.front.targets",
    "build": "dag.front.build",
    "cmd": "dag.front.words",
    "need": "dag.front.targets",
    "sh": "dag.front.words",
} | dict.fromkeys(("Dir", "Env", "File", "Glob"), "fingerprint.inputs")


def __getattr__(name: str) -> object:
    from vcache.kit.lazy import on_first_use  # 0.2 ms, which the clean path does without

    return on_first_use(globals(), _HOMES, base="vcache")(name)


def __dir__() -> list[str]:
    return list(__all__)
