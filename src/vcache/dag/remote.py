"""What a worker elsewhere does with a command: builds a tree for it, runs it, keeps what it made.

Everything comes as plain data, and content through a cache that both sides can open. It knows no
graph, and no cluster: whoever brings the words here may be Dask or a test.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache as once
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final, cast

from vcache.artifacts import collect
from vcache.cache import Cache
from vcache.dag.executor import Job
from vcache.dag.listing import Lost, Wanted, above, read_listing
from vcache.dag.local import LocalExecutor
from vcache.dag.node import Command, Node
from vcache.dag.order import VERSION, Order, expanded, unpack, wrong_version
from vcache.dag.scratch import Trees
from vcache.errors import FingerprintError, UnsafePath, UsageError, VcacheError
from vcache.fingerprint.depfile import parse_depfile, parse_show_includes
from vcache.fingerprint.digests import FileDigests
from vcache.fingerprint.tools import find_tool
from vcache.kit.data import dataclass
from vcache.outcome import Hit
from vcache.portable import ROOT, is_told_by, leaves_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from vcache.dag.executor import Ended
    from vcache.dag.listing import Rows
    from vcache.dag.scratch import Tree

__all__ = ["carry_out", "probe", "stop"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9/._+-]+")
"""Paths of trees hold nothing that a shell or a rule of make would write in another way."""


# -- what is called --------------------------------------------------------------------------------


def probe(address: str, key: str, version: int) -> str:
    """Whether this worker can take part: "", or why not.

    Args:
        address: of the shared cache.
        key: in hex; the client put something there.
    """
    if version != VERSION:
        return f"{_here()} {wrong_version(version)}"
    worker, name = _worker(), bytes.fromhex(key)
    try:
        found = worker.cache(address).peek_key(name)
        if not isinstance(found, Hit):  # perhaps it was removed and made anew since we opened it
            found = worker.cache(address, is_anew=True).peek_key(name)
    except (VcacheError, OSError) as error:
        return f"{_here()} cannot open it: {error}"
    if not isinstance(found, Hit):
        return f"{_here()} opens it and does not see what was put there from here: it is another one"
    return ""


def carry_out(packed: bytes) -> dict[str, object]:
    """Carry an order out.

    Returns: with `declined`, in words why it was not carried out; else `status`, `chunks` (words name
        the client's root), `gap`, `took_ns`, `made` (names), `files` (artifacts), `reads` ((name or
        absolute path, digest) of what a compiler says that it read), `is_killed`. In any case `order`
        and `root`, for who hears of it besides the one that asked.
    """
    order = unpack(packed)
    if isinstance(order, str):
        return {"declined": f"{_here()} {order}"}
    return {**_replied(order), "order": order.order, "root": order.root}


def _replied(order: Order) -> dict[str, object]:
    worker = _worker()
    try:
        shared = worker.cache(order.cache)
    except (VcacheError, OSError) as error:
        return {"declined": f"{_here()} cannot open the shared cache {order.cache}: {error}"}
    odd = worker.odd_one(order)
    if odd:
        return {"declined": f"{_here()} has {odd}"}
    tree = worker.trees.take(order.project, shared)
    try:
        reply = _carried_out(order, worker, tree)
    except Lost as error:
        reply = {"declined": f"{_here()} cannot get {error} from the shared cache"}
    except (OSError, VcacheError) as error:
        tree.remove()  # a state that nobody foresaw
        return {"declined": f"{_here()}: {error}"}
    except BaseException:
        tree.remove()
        raise
    worker.trees.give_back(order.project, tree)
    return reply


def stop(orders: Iterable[str]) -> None:
    """Stop what runs, or is about to."""
    _worker().stop(orders)


# -- one process -----------------------------------------------------------------------------------


class _Worker:
    """What a worker process keeps between orders. Threads: any number."""

    def __init__(self, find_place: Callable[[], str]) -> None:
        self.trees = Trees(find_place)
        self.digests = FileDigests("/")
        self._executor = LocalExecutor(environ={})
        # Opening takes as long as it takes: whoever stops a command does not wait for it.
        self._opening = threading.Lock()  # guards the next, and one opens at a time
        self._caches: dict[str, Cache] = {}
        self._lock = threading.Lock()  # guards all below
        self._running: dict[str, Callable[[], None]] = {}
        self._stopped: set[str] = set()

    def cache(self, address: str, *, is_anew: bool = False) -> Cache:
        """The shared cache.

        Args:
            is_anew: it is opened once more. The one that was open is left to those who use it.

        Raises:
            VcacheError: it cannot be opened.
        """
        with self._opening:
            known = self._caches.get(address)
            if known is None or is_anew:
                known = self._caches[address] = Cache(address, disabled=False)
            return known

    def odd_one(self, order: Order) -> str:
        """The first of the things that must be the same here and are not, in words; "" for none."""
        environ = _environ(order, "")
        for name, content in order.same:
            found = find_tool(name, environ) if "/" not in name else (name, None)
            try:
                state = None if found is None else self.digests.look(found[0])
            except FingerprintError:
                state = None
            if state is None:
                return f"no {name}"
            if state.digest.hex() != content:
                return f"another {name}"
        return ""

    def run(self, order: str, job: Job) -> Ended | None:
        """How it ended; None where it was stopped before."""
        ended: SimpleQueue[Ended] = SimpleQueue()
        with self._lock:
            if order in self._stopped:
                self._stopped.discard(order)
                return None
            self._running[order] = self._executor.start(job, ended.put)
        try:
            return ended.get()
        finally:
            with self._lock:
                del self._running[order]

    def stop(self, orders: Iterable[str]) -> None:
        with self._lock:
            if len(self._stopped) > _STOPPED_MOST:
                self._stopped.clear()
            kills = [self._running[order] for order in orders if order in self._running]
            self._stopped.update(order for order in orders if order not in self._running)
        for kill in kills:
            kill()

    def close(self) -> None:
        """Stop what runs, and close what is open."""
        self._executor.close()
        for cache in self._caches.values():
            cache.close()


_STOPPED_MOST: Final = 100_000


@once
def _worker() -> _Worker:
    return _Worker(lambda: os.path.realpath(_place()))


def _place() -> str:
    """Where trees are made: the worker's own directory, which Dask removes, also after a crash."""
    if "distributed" in sys.modules:
        from distributed import get_worker

        with suppress(ValueError):  # no worker: called by hand
            place = os.path.join(get_worker().local_directory, "vcache")
            if _PLAIN.fullmatch(os.path.realpath(place)):
                return place
    from vcache.dag.workplace import workplace

    return workplace()


def _here() -> str:
    return f"worker {socket.gethostname()}:{os.getpid()}"


def _environ(order: Order, root: str) -> dict[str, str]:
    """This worker's own variables, and those of the client that count."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PWD", "OLDPWD")}
    for name, value in order.environ.items():
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = expanded(value, root)
    return environ


# -- one order -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scene:
    """An order in its tree.

    Attributes:
        root: where the command sees the tree: at its own path, or where the project is at home.
    """

    order: Order
    tree: Tree
    root: str

    @property
    def is_home(self) -> bool:
        return self.root == self.order.root

    def at_home(self, data: bytes, *, is_rule: bool = False) -> bytes:
        """What a command wrote, with paths as the client has them.

        Args:
            is_rule: of make, which quotes some characters.
        """
        if self.is_home:
            return data
        root = self.order.root
        if is_rule:
            root = root.replace("$", "$$").replace("#", r"\#").replace(" ", r"\ ")
        return data.replace(os.fsencode(self.tree.path), os.fsencode(root))


def _carried_out(order: Order, worker: _Worker, tree: Tree) -> dict[str, object]:
    wanted = _wanted(order, worker, tree)
    tree.become(wanted, reads=order.reads)
    before = tree.seen_at(order.root, order.cwd)
    scene = _Scene(order, tree, order.root if before else tree.path)
    ended = worker.run(order.order, _job(scene, before))
    if ended is None or ended.is_killed:
        return {"status": 1, "is_killed": True}
    chunks = [(stream, at_ns, scene.at_home(data)) for stream, at_ns, data in ended.chunks]
    reply: dict[str, object] = {
        "status": ended.status, "chunks": chunks, "gap": ended.gap, "took_ns": ended.took_ns,
    }  # fmt: skip
    if ended.status:
        return reply
    return _made(scene, worker, wanted, reply)


def _wanted(order: Order, worker: _Worker, tree: Tree) -> Wanted:
    rows: Rows = {name: (mode, bytes.fromhex(content)) for name, mode, content in order.rows}
    if order.more:
        rows.update(read_listing(tree.shelf, bytes.fromhex(order.more)))
    layers = worker.trees.layered(tree.shelf, [bytes.fromhex(each) for each in order.listings])
    cwd = [order.cwd] if order.cwd not in ("", ".") else []
    wanted = layers.but(rows, less=(*order.outs, *filter(None, (order.depfile, order.rspfile))))
    return Wanted(wanted.rows, wanted.directories.union(cwd, above(cwd)))


def _job(scene: _Scene, before: tuple[str, ...]) -> Job:
    """The command in its tree.

    Args:
        before: what it is started with.
    """
    order, root, path = scene.order, scene.root, scene.tree.path
    argv = order.argv or ("/bin/sh", "-c", order.shell)
    command = Command(
        argv=(*before, *(expanded(word, root) for word in argv)),
        cwd=order.cwd,
        env=_environ(order, root),
        depfile=order.depfile,
        rspfile=order.rspfile,
        rsp_content=expanded(order.rsp_content, root),
        timeout_s=order.timeout_s,
    )
    makes = tuple(os.path.join(path, name) for name in order.outs)
    return Job(node=Node(name=order.label), command=command, base=path, makes=makes)


def _made(scene: _Scene, worker: _Worker, wanted: Wanted, reply: dict[str, object]) -> dict[str, object]:
    """What a command that ended well left, kept in the shared cache."""
    order, tree = scene.order, scene.tree
    chunks = cast("list[tuple[int, int, bytes]]", reply["chunks"])
    stray = _stray(order, tree, wanted)
    if stray:
        return {"declined": f"it made {stray}, which it does not declare"}
    try:
        reply["reads"] = _reads(scene, worker, chunks)
    except (UsageError, FingerprintError) as error:
        return {"declined": str(error)}
    made = [
        name
        for name in (*order.outs, *filter(None, (order.depfile,)))
        if os.path.lexists(os.path.join(tree.path, name))
    ]
    bound = "" if scene.is_home else _bound(order, tree, made, chunks)
    if bound:
        return {"declined": f"{bound} names the directory it was made in"}
    _translate(scene)
    try:
        files = collect(tree.shelf, made)
    except (UsageError, UnsafePath, FingerprintError) as error:
        return {"declined": str(error)}
    if files is None:
        return {"declined": f"the shared cache did not take its outputs from {_here()}"}
    return {**reply, "made": made, "files": files}


def _stray(order: Order, tree: Tree, wanted: Wanted) -> str:
    """Something new beside the outputs that nobody declared: it would be lost; "" for nothing."""
    known = {*order.outs, order.depfile, order.rspfile}
    for directory in {order.cwd.strip("."), *(os.path.dirname(out) for out in order.outs)}:
        with os.scandir(os.path.join(tree.path, directory)) as found:
            for entry in found:
                name = f"{directory}/{entry.name}" if directory else entry.name
                if not entry.is_dir(follow_symlinks=False) and name not in known and name not in wanted.rows:
                    return name
    return ""


def _reads(
    scene: _Scene, worker: _Worker, chunks: Sequence[tuple[int, int, bytes]]
) -> list[tuple[str, bytes]]:
    """What a compiler says that it read, as it was here.

    Raises:
        UsageError: what it says cannot be understood, or is gone.
    """
    order, tree = scene.order, scene.tree
    prefix = os.path.join(scene.root, "")
    reads: dict[str, bytes] = {}
    for name in _named(scene, chunks):
        full = os.path.normpath(os.path.join(scene.root, order.cwd, name))
        below = full[len(prefix) :] if full.startswith(prefix) else ""
        if below in order.outs or (below or full) in reads:
            continue
        state = tree.shelf.digests.look(below) if below else worker.digests.look(full)
        if state is None:
            raise UsageError(f"{full}, which it says that it read, is not there")
        reads[below or full] = state.digest
    return list(reads.items())


def _named(scene: _Scene, chunks: Sequence[tuple[int, int, bytes]]) -> Iterable[str]:
    """The files that a compiler names, as it saw them."""
    order = scene.order
    if order.deps == "msvc":
        prefix = tuple(filter(None, (order.msvc_prefix,)))
        found = [name for _, _, data in chunks for name in parse_show_includes(data, *prefix)[0]]
        # Words name the client's root already.
        return [_replaced(name, order.root, scene.root) for name in found]
    if not order.depfile:
        return ()
    path = os.path.join(scene.tree.path, order.depfile)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return parse_depfile(file.read())
    except FileNotFoundError:
        return ()
    except UsageError as error:
        raise UsageError(f"{order.depfile}: {error}") from error


def _replaced(path: str, old: str, new: str) -> str:
    return new + path[len(old) :] if path.startswith(f"{old}/") else path


def _bound(order: Order, tree: Tree, made: Iterable[str], chunks: Sequence[tuple[int, int, bytes]]) -> str:
    """What of a result holds the path of the tree, so that it is none; "" for nothing."""
    texts = (*order.argv, order.shell, order.rsp_content, *(value or "" for value in order.environ.values()))
    is_named = any(ROOT in text for text in texts)
    words = [b"".join(data for number, _, data in chunks if number == stream) for stream in (1, 2)]
    if is_told_by(tree.path, files=(), texts=words, is_named=False):
        return "what it wrote"
    for name in made:
        if name == order.depfile and name not in order.outs:
            continue  # which is translated
        for path, is_link in leaves_of(os.path.join(tree.path, name)):
            files, targets = ((), (os.fsencode(os.readlink(path)),)) if is_link else ((path,), ())
            if is_told_by(tree.path, files=files, texts=targets, is_named=is_named):
                return os.path.relpath(path, tree.path)
    return ""


def _translate(scene: _Scene) -> None:
    """Let a depfile name the client's paths."""
    path = os.path.join(scene.tree.path, scene.order.depfile)
    if scene.is_home or not scene.order.depfile or not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        data = file.read()
    theirs = scene.at_home(data, is_rule=True)
    if theirs != data:
        with open(path, "wb") as file:
            file.write(theirs)
