"""What leaves this tree for a worker elsewhere, and what comes back into it, by content.

It knows the project's files and the cache that both sides open. It knows no cluster.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from vcache.artifacts import collect, put_in_place
from vcache.dag.executor import NOT_RUNNABLE, TIMED_OUT, Ended
from vcache.dag.frozen import DIRECTORY
from vcache.dag.listing import GONE, Rows, listing_key, pack_rows
from vcache.dag.order import Order, pack
from vcache.discovery import begin
from vcache.errors import FingerprintError, StoreError, UnsafePath, UsageError
from vcache.fingerprint.compilers import HEEDED, compiler_tools
from vcache.fingerprint.restoring import Restorer
from vcache.fingerprint.tools import find_tool
from vcache.hash import digest
from vcache.kit.data import dataclass
from vcache.pieces import Artifact, planned
from vcache.portable import ROOT, is_told_by, leaves_of, portable_name, portable_text

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.dag.executor import Job

__all__ = ["Parcel", "Shipping", "unfit"]

_NEVER: Final = frozenset((".git", ".hg", ".svn", ".jj", ".bzr", "CVS", DIRECTORY, "__pycache__"))
_TAG: Final = "CACHEDIR.TAG"
# Commands declare these when they read them: a link its objects, a packer its programs.
_MADE: Final = (".o", ".obj", ".lo", ".a", ".lib", ".so", ".dylib", ".dll", ".exe", ".pyc")
_ELF: Final = b"\x7fELF"
_LARGE_BYTES: Final = 16 << 20
_INLINE_ROWS: Final = 200
"""Beyond, rows travel through the cache: a scheduler is slow with large messages."""
_COUNTING: Final = frozenset(("PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", *HEEDED))
# A failure that another machine may well not have. Anything else is the command's own opinion.
_DOUBTFUL: Final = re.compile(
    rb"no such file|not found|cannot find|can't find|cannot open|can't open|does not exist|permission denied"
    rb"|no space left|read-only file system|cannot allocate|out of memory|killed|unable to find|no module named"
    rb"|resource temporarily unavailable|too many open files|no input files",
    re.IGNORECASE,
)

_Chunk: TypeAlias = tuple[int, int, bytes]


def unfit(job: Job) -> bool:
    """Whether a job is for this machine only: it has the terminal, is traced, or writes what it does not say."""
    return (
        job.has_terminal
        or job.command.is_traced
        or job.node.is_generator
        or not job.node.is_kept
        or not job.makes
    )


@dataclass(frozen=True, slots=True)
class Parcel:
    """A job as it travels, and what is remembered of it here.

    Attributes:
        key: two parcels with this one have the same result, as far as can be known; "" for none.
    """

    job: Job
    order: Order
    packed: bytes
    began_ns: int
    key: str = ""


class Shipping:
    """Packs jobs of one run, and takes in what comes back.

    Args:
        cache: of this tree, or one that stands on the shared address alone; its root is the project's.
        address: how a worker opens what both sides see.
        project: names the trees that workers keep for this one.
        environ: the caller's variables.
        env: names of further ones that count.

    Threads: `pack` in one at a time; the others in any.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        address: str,
        project: str,
        environ: Mapping[str, str],
        env: Sequence[str] = (),
    ) -> None:
        self._cache, self._address, self._project = cache, address, project
        self._environ = {**dict.fromkeys((*_COUNTING, *env)), **environ}
        self._counting = _COUNTING.union(env)
        self._root = os.fspath(cache.root)
        self._restorer = Restorer(cache.root)
        self._lock = threading.Lock()  # guards what was made meanwhile
        self._touched: set[str] = set()
        self._is_stale = True
        self._base: Rows | None = None
        self._base_digest = b""
        self._later: Rows = {}
        self._later_digest = b""
        self._tools: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {}

    def touch(self, paths: Iterable[str]) -> None:
        """Somebody made these absolute paths, or put them back."""
        with self._lock:
            self._touched.update(paths)

    def forget(self) -> None:
        """Somebody made files and did not say which: look at all of them anew, before the next job."""
        with self._lock:
            self._is_stale = True

    # -- out ---------------------------------------------------------------------------------------

    def pack(self, job: Job, order: str, *, is_alone: bool = False) -> Parcel | str:
        """A job as it travels; in words why it cannot.

        Args:
            is_alone: no other's result will do.
        """
        began_ns = begin(waits=False)
        command, root = job.command, self._root
        cwd = self._name(os.path.join(job.base, command.cwd))
        outs = [self._name(path).rstrip("/") for path in job.makes]
        extra = [
            self._name(os.path.join(job.base, path)) if path else ""
            for path in (command.depfile, command.rspfile)
        ]
        if any(name[:1] == "/" or name == "." for name in (*outs, *extra)) or cwd[:1] == "/":
            return "it works outside of the project"
        texts = (*command.argv, command.shell, command.rsp_content, *command.env.values())
        portable = [portable_text(text, root) for text in texts]
        if any(root in text for text in portable):
            return f"its command names {root} in a way that cannot be said elsewhere"
        try:
            same = self._same(job)
            rows = self._rows(job, same)
            listings = self._listings()
        except (FingerprintError, UsageError, UnsafePath, OSError) as error:
            return str(error)
        more = ""
        if len(rows) > _INLINE_ROWS:
            more, rows = self._put_listing(rows).hex(), {}
        count = len(command.argv)
        found = Order(
            order=order,
            label=job.node.name,
            cache=self._address,
            project=self._project,
            root=root,
            listings=tuple(each.hex() for each in listings),
            rows=tuple((name, mode, content.hex()) for name, (mode, content) in rows.items()),
            more=more,
            reads=tuple(name for name in map(self._name, job.reads) if name[:1] != "/"),
            same=tuple(same.items()),
            outs=tuple(outs),
            argv=tuple(portable[:count]),
            shell=portable[count],
            cwd=cwd,
            environ={
                **self._variables(command.heeds),
                **dict(zip(command.env, portable[count + 2 :], strict=True)),
            },
            depfile=extra[0],
            deps=command.deps,
            msvc_prefix=command.msvc_prefix,
            rspfile=extra[1],
            rsp_content=portable[count + 1],
            timeout_s=command.timeout_s,
        )
        return Parcel(job, found, pack(found), began_ns, "" if is_alone else job.key)

    def _name(self, path: str) -> str:
        return portable_name(os.path.normpath(path), self._root)

    def _variables(self, heeded: Sequence[str]) -> dict[str, str | None]:
        """The caller's variables that count; None for one that is not set."""
        values = {name: self._environ.get(name) for name in (*self._counting, *heeded)}
        return {
            name: None if text is None else portable_text(text, self._root) for name, text in values.items()
        }

    def _same(self, job: Job) -> dict[str, str]:
        """What a worker must have as it is here: by path, or by name for what is found on PATH."""
        same: dict[str, str] = {}
        for tool in dict.fromkeys((*job.command.argv[:1], *job.command.tools)):
            path = os.path.normpath(os.path.join(job.base, job.command.cwd, tool)) if "/" in tool else tool
            if portable_name(path, self._root) != path:
                continue  # of the project: it is brought there
            same.update(self._tool(path))
        for path in job.reads:
            full = os.path.normpath(path)
            if self._name(full)[:1] == "/" and os.path.isfile(full):
                same[full] = self._digest(full)
        return same

    def _tool(self, path: str) -> tuple[tuple[str, str], ...]:
        """A program, with those that a compiler driver starts."""
        found = find_tool(path, cast("Mapping[str, str]", self._environ))
        if found is None:
            return ()  # a shell's builtin; the command says it better
        key = path, found[0]
        if key not in self._tools:
            helpers = compiler_tools(found[0], backing=self._cache.backing)
            where = ((name, find_tool(name, cast("Mapping[str, str]", self._environ))) for name in helpers)
            each = ((path, found), *where)
            self._tools[key] = tuple((name, self._digest(spot[0])) for name, spot in each if spot is not None)
        return self._tools[key]

    def _digest(self, path: str) -> str:
        state = self._cache.digests.look(path)
        if state is None:
            raise FingerprintError(f"{path} is gone")
        return state.digest.hex()

    # -- files -------------------------------------------------------------------------------------

    def _rows(self, job: Job, same: Mapping[str, str]) -> Rows:
        """What a job reads by declaration, and its own tools, beyond what listings say."""
        with self._lock:
            is_stale, self._is_stale = self._is_stale, False
            touched, self._touched = self._touched, set()
        if is_stale or self._base is None:
            self._snapshot(job.base)
        for path in touched:
            self._follow(path)
        rows: Rows = {}
        tools = [
            os.path.normpath(os.path.join(job.base, job.command.cwd, tool))
            for tool in (*job.command.argv[:1], *job.command.tools)
            if "/" in tool
        ]
        for path in (*job.reads, *tools):
            name = self._name(path)
            if name[:1] != "/" and name != "." and os.path.lexists(path):
                rows.update(self._taken(name))
        return {name: row for name, row in rows.items() if self._listed(name) != row}

    def _follow(self, path: str) -> None:
        """Let a later listing say how a path is that was made in this run."""
        name = self._name(path.rstrip("/"))
        if name[:1] == "/" or name == ".":
            return
        now: Rows = {}
        if os.path.isdir(path) and not os.path.islink(path):
            now = {each: row for each, row in self._taken(name).items() if not each.endswith(_MADE)}
        elif os.path.lexists(path) and _is_worth_it(path, os.lstat(path)):
            now = self._taken(name)
        if not now and self._listed(name) is not None:
            now = {name: (GONE, b"")}
        for each, row in now.items():
            if self._listed(each) != row:
                self._later[each] = row
                self._later_digest = b""

    def _listed(self, name: str) -> tuple[int, bytes] | None:
        assert self._base is not None
        return self._later.get(name) or self._base.get(name)

    def _taken(self, name: str) -> Rows:
        """A file, link or directory, put where a worker finds it.

        Raises:
            UsageError: it has no content, or the cache took it not.
        """
        known = None if self._base is None else self._listed(name)
        full = os.path.join(self._root, name)
        if known is not None and known[0] == _mode(full):
            state = self._cache.digests.look(full)
            if state is not None and state.digest == known[1]:
                return {name: known}
        artifacts = collect(self._cache, [name], restorer=self._restorer)
        if artifacts is None:
            raise UsageError(f"{name} could not be put into the shared cache")
        rows = {cast("str", each): (cast("int", mode), cast("bytes", c)) for each, mode, c in artifacts}
        if rows.get(name, (0,))[0] == stat.S_IFLNK:
            target = self._name(os.path.realpath(full))
            if target[:1] != "/" and target != name and os.path.isfile(os.path.join(self._root, target)):
                rows.update(self._taken(target))
        return rows

    def _snapshot(self, base: str) -> None:
        """List the project's files as they are now."""
        rows: Rows = {}
        for name, is_empty in self._walk("", base):
            if is_empty:
                rows[name] = stat.S_IFDIR | 0o755, b""
                continue
            try:
                rows.update(self._taken(name))
            except (FingerprintError, UsageError, UnsafePath, OSError):
                continue  # unreadable, or just being written: who declares it hears of it
        self._base, self._base_digest = rows, self._put_listing(rows)
        self._later, self._later_digest = {}, b""

    def _walk(self, prefix: str, base: str) -> Iterator[tuple[str, bool]]:
        """Files worth bringing, and directories without any, and which of both it is."""
        count = 0
        with os.scandir(os.path.join(self._root, prefix)) as found:
            entries = list(found)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                is_ours = f"{base}/".startswith(f"{entry.path}/")
                if entry.name in _NEVER or (not is_ours and os.path.exists(os.path.join(entry.path, _TAG))):
                    continue
                yield from self._walk(f"{prefix}{entry.name}/", base)
                count += 1
            else:
                status = entry.stat(follow_symlinks=False)
                if _is_worth_it(entry.path, status):
                    count += 1
                    yield prefix + entry.name, False
        if not count and prefix:
            yield prefix[:-1], True

    def _listings(self) -> tuple[bytes, ...]:
        if not self._later:
            return (self._base_digest,)
        if not self._later_digest:
            self._later_digest = self._put_listing(self._later)
        return self._base_digest, self._later_digest

    def _put_listing(self, rows: Rows) -> bytes:
        """Keep a listing; its digest.

        Raises:
            UsageError: the cache did not take it.
        """
        packed = pack_rows(rows)
        content = digest(packed)
        if not self._cache.put_key(listing_key(content), packed):
            raise UsageError("a listing of the project's files could not be put into the shared cache")
        return content

    # -- in ----------------------------------------------------------------------------------------

    def take_in(self, parcel: Parcel, reply: Mapping[str, object]) -> Ended | str:
        """How a job ended, its outputs in place; in words why it has to run here."""
        declined = reply.get("declined")
        if declined is not None:
            return str(declined)
        status = cast("int", reply["status"])
        if reply.get("is_killed"):
            return Ended(status=status or 1, is_killed=True, began_ns=parcel.began_ns)
        chunks = tuple((stream, at_ns, data) for stream, at_ns, data in cast("list[_Chunk]", reply["chunks"]))
        ended = Ended(
            status=status,
            chunks=chunks,
            gap=str(reply["gap"]),
            took_ns=cast("int", reply["took_ns"]),
            began_ns=parcel.began_ns,
        )
        if status:
            return "it failed in a way that another machine may cause" if _is_doubtful(ended) else ended
        differs = self._differs(cast("list[tuple[str, bytes]]", reply["reads"]))
        if differs:
            self.touch((os.path.join(self._root, differs),))  # the next one gets it as it is
            return f"{differs} is not what it is here"
        return self._placed(parcel, reply) or self._foreign(parcel, reply, chunks) or ended

    def _differs(self, reads: Iterable[tuple[str, bytes]]) -> str:
        """The first of the files it read there that is another one here."""
        for name, content in reads:
            try:
                state = self._cache.digests.look(os.path.join(self._root, name))
            except FingerprintError:
                return name
            if state is None or state.digest != content:
                return name
        return ""

    def _foreign(self, parcel: Parcel, reply: Mapping[str, object], chunks: Sequence[_Chunk]) -> str:
        """Why a result is not ours that was made for another place, in words; "" where nothing tells that place."""
        root = str(reply.get("root", self._root))
        if root == self._root:
            return ""
        order = parcel.order
        texts = (
            *order.argv,
            order.shell,
            order.rsp_content,
            *(value or "" for value in order.environ.values()),
        )
        words = [b"".join(data for number, _, data in chunks if number == stream) for stream in (1, 2)]
        made = [os.path.join(self._root, name) for name in cast("list[str]", reply["made"])]
        leaves = [leaf for path in made for leaf in leaves_of(path)]
        words += [os.fsencode(os.readlink(path)) for path, is_link in leaves if is_link]
        files = [path for path, is_link in leaves if not is_link]
        is_named = any(ROOT in text for text in texts)
        return (
            "it names the place it was made in"
            if is_told_by(root, files=files, texts=words, is_named=is_named)
            else ""
        )

    def _placed(self, parcel: Parcel, reply: Mapping[str, object]) -> str:
        """Put outputs in place; why that cannot be, in words."""
        order = parcel.order
        made = cast("list[str]", reply["made"])
        if not {*made} <= {*order.outs, order.depfile}:
            return "it made something else"
        files = cast(
            "list[Artifact]", [tuple(each) for each in cast("list[Sequence[object]]", reply["files"])]
        )
        try:
            outputs = planned(files, made)
            if outputs is None or put_in_place(self._cache, outputs, restorer=self._restorer) is None:
                return "its outputs cannot be had from the shared cache"
            for output in outputs:
                for piece in output.pieces:
                    if (
                        piece.is_file
                        and self._digest(os.path.join(self._root, piece.name)) != piece.content.hex()
                    ):
                        return f"{piece.name} is damaged in the shared cache"
        except (UnsafePath, StoreError, FingerprintError, OSError) as error:
            return str(error)
        return ""


def _mode(path: str) -> int:
    """As an artifact has it, for a regular file; else -2, which none has."""
    mode = os.lstat(path).st_mode
    return mode & 0o777 if stat.S_ISREG(mode) else -2


def _is_worth_it(path: str, status: os.stat_result) -> bool:
    """Whether a command may read a file without saying so."""
    if stat.S_ISLNK(status.st_mode):
        return True
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGE_BYTES or path.endswith(_MADE):
        return False
    if not status.st_mode & 0o111:
        return True
    try:
        with open(path, "rb") as file:
            return file.read(4) != _ELF
    except OSError:
        return False


def _is_doubtful(ended: Ended) -> bool:
    """Whether a failure may be the other machine's: then it is tried here, which costs one more run."""
    if ended.status == TIMED_OUT:
        return False
    return ended.status >= NOT_RUNNABLE or any(_DOUBTFUL.search(data) for _, _, data in ended.chunks)
