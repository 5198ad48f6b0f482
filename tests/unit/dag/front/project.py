"""A project with a vcachefile, and runs of it over a real cache."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

from vcache.cache import Cache
from vcache.dag import events
from vcache.dag.errands import JobPlace
from vcache.dag.files import Files
from vcache.dag.loading import Loaded, inside, load
from vcache.dag.local import LocalExecutor
from vcache.dag.node import Call, Made
from vcache.dag.run import Options
from vcache.dag.runner import Runner

HEAD = "from vcache.dag import Dir, Env, File, Glob, build, cmd, need, sh\n"


class Notebook:
    """A tree's memory that is only remembered."""

    def __init__(self) -> None:
        self.made: dict[str, Made] = {}

    def last(self, name: str) -> Made | None:
        return self.made.get(name)

    def record(self, name: str, made: Made) -> None:
        self.made[name] = made

    def forget(self, name: str) -> None:
        self.made.pop(name, None)

    def generated(self) -> tuple[int, ...]:
        return ()


class Project:
    """A directory of files, a cache, and what happened in the last run."""

    def __init__(self, base: Path, store: Path) -> None:
        self.base = base
        base.mkdir(exist_ok=True)
        self.cache = Cache(store, root=base)
        self.tree = Notebook()
        self.events: list[events.Event] = []
        self._error = ""
        self.loaded: Loaded | None = None
        self.runner: Runner | None = None
        self.jobs: JobPlace | None = None

    def write(self, **files: str) -> None:
        """Files by name, "/" written as "__" and "." as "_DOT_"."""
        for name, text in files.items():
            self.file(name.replace("__", "/").replace("_DOT_", "."), text)

    def file(self, name: str, text: str) -> None:
        path = self.base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def read(self, name: str) -> str:
        return (self.base / name).read_text()

    def load(self, text: str | None = None, *, defines: Mapping[str, str] | None = None) -> Loaded:
        if text is not None:
            self.file("vcachefile.py", HEAD + textwrap.dedent(text))
        self.loaded = load(self.base / "vcachefile.py", cache=self.cache, defines=defines, jobs=self.jobs)
        return self.loaded

    def run(
        self, *words: str, status: int = 0, defines: Mapping[str, str] | None = None, dry: bool = False
    ) -> Project:
        """Read the file anew and make targets."""
        loaded = self.load(defines=defines)
        self.events = []
        files = Files(
            self.cache.observer, self.cache.digests, base=os.fspath(self.base), root=self.cache.root
        )
        executor = LocalExecutor(slots=2)
        with inside(loaded.graph.base):
            self.runner = Runner(
                loaded.graph, self.cache, self.tree, files, executor, emit=self.events.append,
                options=Options(is_strict=True, is_dry_run=dry),
            )  # fmt: skip
            try:
                got = self.runner.run(loaded.targets(words))
            finally:
                executor.close()
        failed = (each for each in self.events if isinstance(each, events.Finished) and each.status)
        self._error = next((each.remark for each in failed), "")
        assert got == status, (got, self._error, self.events)
        return self

    def value(self, word: str) -> object:
        """What a value is after the last run."""
        assert self.loaded is not None
        assert self.runner is not None
        (node,) = self.loaded.targets([word])
        task = self.runner.result(node)
        assert task is not None
        return task.value

    @property
    def ran(self) -> set[str]:
        """What ran in the last run, and ended well."""
        return {
            each.node.name for each in self.events if isinstance(each, events.Finished) and not each.status
        }

    @property
    def hits(self) -> set[str]:
        """What was remembered: restored, or a value that this tree had already."""
        return {
            event.node.name
            for event in self.events
            if isinstance(event, events.Hit)
            or (isinstance(event, events.UpToDate) and isinstance(event.node.work, Call))
        }

    @property
    def error(self) -> str:
        return self._error
