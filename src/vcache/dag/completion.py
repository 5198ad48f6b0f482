"""What follows a command: what it read is gathered, what it made is kept, what it spoilt is removed.

Runs in the executor's threads, beside the runner. It decides nothing about other nodes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from vcache.action import Published
from vcache.dag.evaluate import outs_of
from vcache.dag.node import Made
from vcache.dag.nodelogs import Chunks, keep
from vcache.entry import Dep
from vcache.errors import UsageError
from vcache.fingerprint.depfile import parse_depfile, parse_show_includes
from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from vcache.dag.evaluate import Evaluator
    from vcache.dag.executor import Ended
    from vcache.dag.files import Files
    from vcache.dag.node import Command, Node
    from vcache.dag.run import Run
    from vcache.dag.task import Task

__all__ = ["Completed", "Completion", "owner_of"]

_NO_NAMES: tuple[str, ...] = ()
Note = tuple[str, bool]


def owner_of(node: Node, files: Files) -> str:
    """What the names of a node's results begin with."""
    return f"dag:{files.name(node.outs[0]).rstrip('/') if node.outs else node.name}"


class Completed(NamedTuple):
    """A command that has ended, and what became of its results.

    Attributes:
        chunks: what it wrote, for people.
        log: the digest of that.
        made: what it left; None when that is not certain, so that it must run again.
        name: under which its result is kept; "" when it is not.
        remark: why a success was not kept.
        notes: more lines for people, and whether each is only for who wants to know all.
        error: why a command that ended well failed all the same.
    """

    task: Task
    ended: Ended
    chunks: Chunks = ()
    log: bytes = b""
    made: Made | None = None
    name: str = ""
    remark: str = ""
    notes: tuple[Note, ...] = ()
    error: str = ""


class Completion:
    """Completes the commands of one run."""

    def __init__(self, run: Run, evaluator: Evaluator) -> None:
        self._run, self._evaluator = run, evaluator
        self._keeper, self._files, self._options = run.keeper, run.files, run.options

    def prepare(self, task: Task) -> None:
        """Remember what is there before a command runs, and take out of its way what it makes anew."""
        if task.attempt <= 1:
            task.was = {path: self._files.out(path) for path in task.node.outs}
        task.before = {path: self._stamp(path) for path in (*task.node.outs, *_transient(task.command))}
        if _begins_anew(task.node):
            # What is added to an archive, or beside older files, would be in the result of every checkout.
            self._remove(task, task.node.outs)

    def complete(self, task: Task, ended: Ended) -> Completed:
        """What became of a command."""
        node, command = task.node, task.command
        assert command is not None
        chunks, included = ended.chunks, _NO_NAMES
        if command.deps == "msvc":
            chunks, included = _without_includes(chunks, command.msvc_prefix)
        self._files.made(node.outs)
        if ended.status or ended.is_killed:
            self._remove_spoilt(task)
            return Completed(task=task, ended=ended, chunks=chunks, log=keep(self._keeper, chunks))
        log = keep(self._keeper, chunks)
        made, name, remark, error, notes = self._succeeded(task, command, ended, chunks, included, log)
        if error:
            self._remove_spoilt(task)
        return Completed(
            task=task, ended=ended, chunks=chunks, log=log, made=made, name=name, remark=remark, error=error,
            notes=notes,
        )  # fmt: skip

    # -- after success ---------------------------------------------------------------------------

    def _succeeded(
        self,
        task: Task,
        command: Command,
        ended: Ended,
        chunks: Chunks,
        included: tuple[str, ...],
        log: bytes,
    ) -> tuple[Made | None, str, str, str, tuple[Note, ...]]:
        """What it left, its name, why it is not kept, why it failed after all, and notes."""
        node, files = task.node, self._files
        outs = tuple(files.out(path) for path in node.outs)
        missing = [path for path, content in zip(node.outs, outs, strict=True) if not content]
        if missing and self._options.is_strict:
            return None, "", "", f"{node.name} did not make its output {missing[0]!r}", ()
        names, remark, error = self._named(command)
        if error:
            return None, "", "", error, ()
        found, changed = self._found(task, command, [*names, *included], ended)
        notes = self._audited(task, command, ended, (*names, *included))
        changed = changed or self._changed_meanwhile(task, ended)
        if changed and node.is_generator:
            return None, "", "", "", notes  # Meson writes what it reads; the rule of times says what follows
        if changed:
            return None, "", changed, "", ((f"{changed}: its result is not kept", False), *notes)
        assert task.base is not None
        made = Made(task.base.fingerprint(), tuple(found), outs, ended.took_ns, "", log)
        unfit = remark or self._unfit(task, ended, missing)
        if unfit is not None:
            return made, "", unfit, "", notes
        published = self._publish(task, command, found, chunks, ended.took_ns)
        if isinstance(published, str):
            return made, "", published, "", notes
        kept = Made(made.base, made.found, outs, ended.took_ns, published.name, log)
        # The trace may name more than was found: its place.
        return kept, published.name, "", "", notes

    def _publish(
        self, task: Task, command: Command, found: list[Dep], chunks: Chunks, took_ns: int
    ) -> Published | str:
        node = task.node
        outs = [self._files.name(path).rstrip("/") for path in outs_of(node, command)]
        assert task.lookup is not None
        return self._run.actions.publish(
            owner_of(node, self._files),
            task.lookup,
            found,
            outs,
            chunks,
            cost_ns=took_ns,
            names_root=self._evaluator.names_root(command),
            origin=self._run.id,
        )

    def _unfit(self, task: Task, ended: Ended, missing: list[str]) -> str | None:
        """Why a success is not to be kept, "" where that goes without saying; None when it is kept."""
        node = task.node
        if not node.is_kept or task.is_always or self._keeper.is_disabled:
            return ""
        if self._keeper.is_read_only:
            return "the cache is read-only"
        if ended.gap:
            return ended.gap
        if missing:
            return f"it did not make {missing[0]!r}"
        outside = next((path for path in node.outs if not self._files.is_below_root(path)), None)
        return None if outside is None else f"its output {outside!r} is outside of the project"

    def _named(self, command: Command) -> tuple[list[str], str, str]:
        """What a depfile names; why the result is not kept; why the command failed."""
        if not command.depfile:
            return [], "", ""
        path = self._files.full(command.depfile)
        try:
            # Opening a FIFO would wait for somebody to write.
            with open(path, encoding="utf-8", errors="surrogateescape", opener=_open_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return [], "", f"its depfile {command.depfile!r} is no file"
                text = file.read()
        except FileNotFoundError:
            words = f"its depfile {command.depfile!r} was promised and not written"
            return [], words, words if self._options.is_strict else ""
        except OSError as error:
            return [], "", f"its depfile {command.depfile!r} cannot be read: {error.strerror}"
        try:
            names = parse_depfile(text)
        except UsageError as error:
            return [], "", f"{command.depfile}: {error}"
        if command.deps == "gcc" and not self._options.keep_depfile:
            os.unlink(path)
        return [os.path.join(command.cwd, name) for name in names], "", ""

    def _found(
        self, task: Task, command: Command, names: Iterable[str], ended: Ended
    ) -> tuple[list[Dep], str]:
        """What showed while it ran, as it looks; and what changed meanwhile."""
        files, node = self._files, task.node
        known = {files.name(path) for path in (*node.ins, *task.extra_ins, *node.outs, *_transient(command))}
        known.update(files.name(path) for path in ended.wrote)
        found: dict[tuple[str, str], Dep] = {}
        wanted = [("file", files.name(name)) for name in names]
        wanted += [(kind, files.name(path)) for kind, path in ended.opened or ()]
        for kind, name in wanted:
            if name in known or (kind, name) in found:
                continue
            deps = files.look(kind, name)
            if not deps:
                if kind == "file":
                    return [], f"{name}, which it read, is gone"
                continue
            found[kind, name] = deps[0]
            full = os.path.join(self._keeper.root, name)
            if kind == "file" and not self._is_same(task, full, ended):
                return [], f"{name} changed while it ran"
        return list(found.values()), ""

    def _changed_meanwhile(self, task: Task, ended: Ended) -> str:
        outs = set(task.node.outs)
        for path in (*task.node.ins, *task.extra_ins):
            if path not in outs and path[-1:] != "/" and not self._is_same(task, path, ended):
                dep = self._files.input(path)
                if dep is not None and dep.kind == "file":
                    self._files.made((path,))
                    return f"{path} changed while it ran"
        return ""

    def _is_same(self, task: Task, path: str, ended: Ended) -> bool:
        return self._files.is_same_since(path, began_ns=ended.began_ns, started_ns=task.started_ns)

    def _audited(self, task: Task, command: Command, ended: Ended, names: Iterable[str]) -> tuple[Note, ...]:
        """What a traced command read or wrote that nobody had said, a line each."""
        if self._options.trace != "audit" or ended.opened is None:
            return ()
        from vcache.dag.audit import compare

        full, node = self._files.full, task.node
        tools = [full(tool) for tool in (*command.argv[:1], *command.tools) if "/" in tool]
        findings = compare(
            node,
            ended.opened,
            ended.wrote,
            declared=(*map(full, (*node.ins, *task.extra_ins)), *tools),
            found=(*map(full, names), *(path for _, path in ended.opened if task.is_traced_by_itself)),
            after=tuple(map(full, node.after)),
            outs=tuple(map(full, (*node.outs, *_transient(command)))),
            root=os.fspath(self._keeper.root),
        )
        return tuple(
            (str(finding).removeprefix(f"{node.name}: "), not finding.is_warning) for finding in findings
        )

    # -- after failure ---------------------------------------------------------------------------

    def _remove_spoilt(self, task: Task) -> None:
        """Remove outputs that a failed command began to write: they look like results and are none.

        A generator's stay: without a manifest the next run could not even try again.
        """
        if task.node.is_generator:
            return
        paths = (*task.node.outs, *_transient(task.command))
        self._remove(task, [path for path in paths if self._stamp(path) != task.before.get(path)])
        self._files.made(task.node.outs)

    def _remove(self, task: Task, paths: Iterable[str]) -> None:
        """Remove files, and directories that are outputs with nothing else in them.

        What cannot be removed, or somebody else removed, stays: its node runs in any case.
        """
        for path in paths:
            full = self._files.full(path).rstrip("/")
            if not os.path.isdir(full) or os.path.islink(full):
                with suppress(OSError):
                    if not _is_device(full):
                        os.unlink(full)
            elif path[-1:] == "/" and _begins_anew(task.node) and self._is_own(task, full):
                from shutil import rmtree  # 5 ms, for who makes directories

                rmtree(full, ignore_errors=True)

    def _is_own(self, task: Task, directory: str) -> bool:
        """Whether all that is below a directory is what the node makes."""
        files, name = self._files, self._files.name(directory)
        if name == "." or not files.is_below_root(directory) or files.name("").startswith(f"{name}/"):
            return False
        read = (*task.node.ins, *task.extra_ins, *task.node.after)
        return not any(f"{files.name(path)}/".startswith(f"{name}/") for path in read)

    def _stamp(self, path: str) -> tuple[int, ...]:
        try:
            status = os.lstat(self._files.full(path).rstrip("/"))
        except OSError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _is_device(path: str) -> bool:
    """Whether a path is a device, such as /dev/null: nobody's output, whatever a build file says.

    Raises:
        OSError: there is nothing.
    """
    mode = os.lstat(path).st_mode
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _begins_anew(node: Node) -> bool:
    """Whether a node's command does not look at what it made before."""
    return node.is_kept and not node.is_restat and not node.is_generator


def _transient(command: Command | None) -> tuple[str, ...]:
    """What a command writes that is no output of its node."""
    if command is None:
        return ()
    return tuple(path for path in (command.depfile, command.rspfile) if path)


def _without_includes(chunks: Chunks, prefix: str) -> tuple[Chunks, tuple[str, ...]]:
    """Output without the lines of /showIncludes, and the files they name."""
    names: list[str] = []
    left: list[tuple[int, int, bytes]] = []
    for stream, at, data in chunks:
        found, rest = parse_show_includes(data, prefix) if prefix else parse_show_includes(data)
        names += found
        if rest:
            left.append((stream, at, rest))
    return tuple(left), tuple(names)
