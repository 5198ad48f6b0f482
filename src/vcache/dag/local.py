"""Commands as processes of this machine: the executor that a build uses unless told otherwise.

It knows nothing of caches and graphs, nor which jobs may run together: whoever starts one says so.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from vcache.dag.executor import NOT_FOUND, NOT_RUNNABLE, TIMED_OUT, Ended
from vcache.discovery import begin
from vcache.errors import UsageError
from vcache.kit.child import STDERR, Finished, Leash, run_attached, run_captured
from vcache.kit.orphans import OrphanGuard
from vcache.kit.taskpool import TaskPool

if TYPE_CHECKING:
    from vcache.dag.executor import Executor, Job
    from vcache.dag.jobserver import Tokens

__all__ = ["LocalExecutor", "cpu_quota", "default_slots"]


class LocalExecutor:
    """Runs each job in a process group of its own.

    A job's environment is `environ`, then what `tokens` says, then what the command sets. Directories
    of its outputs, of its depfile and of its response file are made first; a directory that is an
    output itself, too.

    Args:
        slots: how many jobs make sense at once; None for what this machine has.
        tokens: the jobserver that commands are told of. Taking tokens is the runner's part.
        keeps_rsp: response files stay after a success.
        environ: the caller's variables; None for this process's own, as they are now.
    """

    def __init__(
        self,
        *,
        slots: int | None = None,
        tokens: Tokens | None = None,
        keeps_rsp: bool = False,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._slots = default_slots() if slots is None else slots
        self._environ = dict(os.environ if environ is None else environ)
        self._tokens = tokens
        self._keeps_rsp = keeps_rsp
        self._threads = TaskPool("vcache-run")
        self._guard = OrphanGuard()
        self._lock = threading.Lock()  # guards what runs, and that tokens are settled when nothing does
        self._running: set[Leash] = set()

    @property
    def slots(self) -> int:
        return self._slots

    def start(self, job: Job, on_end: Callable[[Ended], None]) -> Callable[[], None]:
        """As `Executor.start`.

        Raises:
            OSError: this process has no descriptors left; `on_end` is not called.
            RuntimeError: it has no threads left; likewise.
            UsageError: the executor is closed; likewise.
        """
        leash = Leash()
        with self._lock:
            self._running.add(leash)
        try:
            self._threads.spawn(lambda: self._run(job, leash, on_end))
        except BaseException:
            with leash, self._lock:
                self._running.remove(leash)
            raise
        return leash.pull

    def close(self) -> None:
        """As `Executor.close`."""
        with self._lock:
            leashes = tuple(self._running)
        for leash in leashes:
            leash.pull()
        self._threads.shutdown()
        self._guard.close()

    def _run(self, job: Job, leash: Leash, on_end: Callable[[Ended], None]) -> None:
        ended = Ended(status=NOT_RUNNABLE)
        try:
            try:
                with leash:
                    ended = self._ended(job, leash)
            except Exception as error:  # such as a NUL in an argument: whoever waits has to be told
                ended = _failed(error, job)
            with self._lock:
                self._running.remove(leash)
                if self._tokens is not None and not self._running:
                    self._tokens.settle()
        finally:  # also where, without a descriptor left, not even the words for it can be found
            on_end(ended)

    def _ended(self, job: Job, leash: Leash) -> Ended:
        command = job.command
        _make_room(job)
        rsp = os.path.join(job.base, command.rspfile) if command.rspfile else ""
        if rsp:
            with open(rsp, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(command.rsp_content)
        argv = command.argv or ("/bin/sh", "-c", command.shell)
        began_ns = begin(waits=False)
        if command.is_traced:
            ended = self._run_traced(argv, job, leash, began_ns)
        else:
            ended = _told(self._finished(argv, job, leash), job, began_ns)
        if rsp and ended.status == 0 and not self._keeps_rsp:
            with suppress(FileNotFoundError):
                os.unlink(rsp)
        return ended

    def _run_traced(self, argv: tuple[str, ...], job: Job, leash: Leash, began_ns: int) -> Ended:
        from tempfile import NamedTemporaryFile  # 5 ms, which nobody needs who traces nothing

        from vcache.dag.strace import read_trace, tidied, under_strace

        cwd = _cwd(job)
        _check_program(argv[0], cwd, {**self._environ, **job.command.env})
        with NamedTemporaryFile("r", prefix="vcache-", encoding="ascii", errors="surrogateescape") as file:
            ended = _told(self._finished(under_strace(argv, file.name), job, leash), job, began_ns)
            traced = tidied(read_trace(file, cwd), base=job.base, outs={*job.makes, *_extra(job)})
        return ended._replace(opened=traced.opened, wrote=traced.wrote, gap=ended.gap or traced.doubt)

    def _finished(self, argv: tuple[str, ...], job: Job, leash: Leash) -> Finished:
        command = job.command
        tokens, env = self._tokens, self._environ
        pass_fds: tuple[int, ...] = ()
        if tokens is not None:
            env = {**env, **tokens.environment(" ".join(argv))}
            pass_fds = tokens.pass_fds
        if command.env:
            env = {**env, **command.env}
        pids: list[int] = []

        def on_start(pid: int) -> None:
            pids.append(pid)
            self._guard.watch(pid, is_group=not job.has_terminal)

        self._guard.start()
        run = run_attached if job.has_terminal else partial(run_captured, sink=_nobody)
        try:
            return run(
                argv,
                cwd=_cwd(job),
                on_start=on_start,
                env=env,
                pass_fds=pass_fds,
                timeout_s=command.timeout_s,
                leash=leash,
            )
        finally:
            for pid in pids:
                self._guard.forget(pid, is_group=not job.has_terminal)


def default_slots() -> int:
    """As ninja: two more than there are processors for this process, three on two, two on one."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        count = os.cpu_count() or 1
    quota = cpu_quota("/")
    if quota is not None:
        count = min(count, max(1, int(quota)))
    return {1: 2, 2: 3}.get(count, count + 2)


def cpu_quota(root: str) -> float | None:
    """How many processors' time the control groups of this process may use; None for no limit.

    Args:
        root: where `proc` and `sys` are.
    """
    try:
        with open(os.path.join(root, "proc/self/cgroup"), encoding="utf-8") as file:
            groups = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return None
    quotas = [
        quota
        for _, controllers, name in groups
        for directory, files in _quota_files(controllers)
        for place in (f"{directory}{name}", directory)  # in a container its own group is the topmost one
        if (quota := _quota(os.path.join(root, place), files)) is not None
    ]
    return min(quotas, default=None)


def _quota_files(controllers: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Where a hierarchy of control groups is, and which of its files give quota and period."""
    if controllers == "":
        return (("sys/fs/cgroup", ("cpu.max",)),)
    if "cpu" in controllers.split(","):
        return ((f"sys/fs/cgroup/{controllers}", ("cpu.cfs_quota_us", "cpu.cfs_period_us")),)
    return ()


def _quota(directory: str, files: tuple[str, ...]) -> float | None:
    words: list[str] = []
    for name in files:
        try:
            with open(os.path.join(directory, name), encoding="ascii") as file:
                words += file.read().split()
        except OSError:
            return None
    if len(words) != 2 or not words[0].isdigit() or not words[1].isdigit():  # "max", "-1": no limit
        return None
    return int(words[0]) / int(words[1])


def _cwd(job: Job) -> str:
    return os.path.join(job.base, job.command.cwd)


def _check_program(name: str, cwd: str, env: Mapping[str, str]) -> None:
    """Say as a plain run does that a program is not there: strace says it in its own way."""
    import shutil  # 8 ms: with all that it could unpack

    if not os.path.isdir(cwd):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), cwd)
    path = os.path.join(cwd, name) if "/" in name else shutil.which(name, path=env.get("PATH"))
    if path is None or not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if not os.access(path, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)


def _nobody(stream: int, data: bytes) -> None:
    """What is written is told at the end, whole."""


def _make_room(job: Job) -> None:
    """The directories that the command may write to."""
    for directory in {os.path.dirname(path) for path in (*job.makes, *_extra(job))}:
        if not os.path.isdir(directory):
            os.makedirs(directory, exist_ok=True)


def _extra(job: Job) -> list[str]:
    """Files that come and go with the command, besides its outputs."""
    return [os.path.join(job.base, name) for name in (job.command.depfile, job.command.rspfile) if name]


def _told(finished: Finished, job: Job, began_ns: int) -> Ended:
    chunks = tuple(
        (stream, at_ns, data)
        for (stream, data), at_ns in zip(finished.chunks, finished.times_ns, strict=True)
    )
    status = finished.status
    if finished.is_timed_out:
        status = TIMED_OUT
        line = f"vcache: {job.node.name}: stopped after {job.command.timeout_s:g} s, its time limit\n"
        chunks += ((STDERR, finished.duration_ns, line.encode("utf-8", "surrogateescape")),)
    return Ended(
        status=status,
        chunks=chunks,
        gap=finished.gap,
        took_ns=finished.duration_ns,
        began_ns=began_ns,
        is_killed=finished.is_stopped,
    )


def _failed(error: Exception, job: Job) -> Ended:
    """A job that could not begin, in words."""
    argv0 = job.command.argv[0] if job.command.argv else "/bin/sh"
    status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
    line = f"vcache: {job.node.name}: {_reason(error, argv0, job)}\n"
    return Ended(
        status=status,
        chunks=((STDERR, 0, line.encode("utf-8", "surrogateescape")),),
        began_ns=time.time_ns(),
    )


def _reason(error: Exception, program: str, job: Job) -> str:
    if isinstance(error, UsageError):
        return str(error)
    if not isinstance(error, OSError):
        return f"cannot run {program!r}: {error}"
    cwd = _cwd(job)
    if error.filename == cwd:
        return f"its working directory {cwd!r} cannot be entered: {error.strerror}"
    if error.filename not in (program, None):
        return f"{error.filename!r} cannot be made: {error.strerror}"
    if error.errno == errno.E2BIG:
        return f"cannot run {program!r}: its arguments are too long; put them into a response file"
    if isinstance(error, FileNotFoundError):
        where = "" if "/" in program else " on PATH"
        return f"cannot run {program!r}: no such program{where}, or the interpreter it names is missing"
    return f"cannot run {program!r}: {error.strerror}"


if TYPE_CHECKING:
    _: Executor = LocalExecutor()
