"""`vcache doctor`: whether directory, settings, machine and libraries are as they should be.

Each check looks and says what it found; none changes anything but files of its own.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import pairs, print_json
from vcache.errors import StoreError, UsageError, VcacheError
from vcache.kit.data import dataclass
from vcache.kit.units import format_bytes, format_duration

if TYPE_CHECKING:
    from vcache.config import Settings
    from vcache.store.guard.report import Remote

__all__ = ["Finding", "doctor", "file_system"]

_LIBRARIES: Final = (
    "blake3", "xxhash", "lz4", "zstandard", "msgpack", "anyio", "click", "rich", "platformdirs",
    "numpy", "pyarrow", "pyyaml", "pycurl", "boto3", "redis", "fsspec", "grpcio", "protobuf", "cryptography",
    "uvicorn", "starlette", "apsw", "cronsim", "hiredis", "msgspec",
)  # fmt: skip
_NETWORK: Final = frozenset(
    {
        "9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "gfs2",
        "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs", "virtiofs",
    }
)  # fmt: skip
_LEAST_FREE_BYTES: Final = 1_000_000_000
_MOST_SKEW_S: Final = 2.0
_PATIENCE_S: Final = 3.0  # with a remote
_FIRST_SANE_S: Final = 1_704_067_200  # 2024-01-01: no clock that is set stands before it

Level = Literal["ok", "note", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to.

    Attributes:
        level: "ok"; "note" for what may surprise; "bad" for what keeps the cache from serving.
        what: the thing looked at.
        detail: what was seen and, unless it is fine, what to do.
    """

    level: Level
    what: str
    detail: str


@click.command(short_help="Look for what is wrong.")
@shared_options(json=True)
@click.pass_obj
def doctor(setup: Setup) -> int:
    """Examine directory, settings, remotes, queue, file system, clock and libraries. The exit code is 1 for a problem.

    --json prints an object: `is_healthy`, `findings` (each `level`: "ok", "note" or "bad", `what`,
    `detail`), `settings` (each `key`, `value`, `origin`), `libraries` (versions by name).
    """
    findings: list[Finding] = []
    settings: Settings | None = None
    try:
        settings = setup.settings()
    except UsageError as error:
        findings.append(Finding("bad", "settings", str(error)))
    if settings is not None:
        findings += _examine(settings)
    is_healthy = all(finding.level != "bad" for finding in findings)
    if setup.is_json:
        print_json(_as_json(findings, settings, is_healthy=is_healthy))
    else:
        _print(findings, settings)
    return 0 if is_healthy else 1


def _as_json(findings: list[Finding], settings: Settings | None, *, is_healthy: bool) -> dict[str, object]:
    described = () if settings is None else settings.describe()
    return {
        "is_healthy": is_healthy,
        "findings": [{"level": each.level, "what": each.what, "detail": each.detail} for each in findings],
        "settings": [{"key": row.key, "value": row.value, "origin": row.origin} for row in described],
        "libraries": _libraries(),
    }


def _print(findings: list[Finding], settings: Settings | None) -> None:
    marks = {"ok": "ok", "note": "note", "bad": "BAD"}
    width = max((len(finding.what) for finding in findings), default=0)
    for finding in findings:
        click.echo(f"{marks[finding.level]:<4}  {finding.what:<{width}}  {finding.detail}")
    if settings is not None:
        click.echo("\nsettings")
        pairs([(f"  {row.key}", f"{row.value}  ({row.origin})") for row in settings.describe()])
    click.echo("\nlibraries")
    pairs([(f"  {name}", version) for name, version in _libraries().items()])


def _libraries() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ("vcache", *_LIBRARIES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _examine(settings: Settings) -> Iterator[Finding]:
    """All findings, those on which others depend first."""
    if settings.is_disabled:
        yield Finding("note", "caching", "is switched off: every look-up misses and nothing is kept")
    if settings.ignored:
        yield Finding("note", "variables", f"{', '.join(settings.ignored)}: no setting of this name")
    if settings.tiers:
        yield Finding("note", "tiers", f"{' '.join(settings.tiers)}: looked at is {settings.dir}")
    yield from _remotes(settings)
    if settings.dir.exists():
        yield from _directory(settings)
    else:
        yield _missing(settings.dir)
    yield from _queue(settings)


def _directory(settings: Settings) -> Iterator[Finding]:
    directory = settings.dir
    yield from _opened(settings)
    yield _permissions(directory)
    checks: tuple[Callable[[Path], Finding], ...] = (
        _kind, lambda where: _space(where, settings.max_bytes), _reflink, _clock, _locks, _quarantine,
    )  # fmt: skip
    for check in checks:
        try:
            yield check(directory)
        except OSError as error:
            yield Finding("bad", "directory", f"{error.filename or directory}: {error.strerror}")


def _remotes(settings: Settings) -> Iterator[Finding]:
    """How each remote fares: those that the settings name, asked now, then those once used from here."""
    from vcache.config import state_dir
    from vcache.store.guard.report import remotes

    seen: set[Path] = set()
    if not settings.is_disabled:
        for name, address in _far_ones(settings):
            yield from _configured(name, address, seen)
    for remote in remotes(state_dir() / "remotes"):
        if remote.directory.resolve() not in seen and (remote.waiting or remote.refusals):
            what = f"remote {remote.address or remote.directory.name}"
            yield Finding("note", what, "was used once, and no setting names it now")
            yield from _state_of(what, remote)


def _queue(settings: Settings) -> Iterator[Finding]:
    from vcache.cli.jobs.health import queue_findings

    return (Finding(level, "queue", detail) for level, detail in queue_findings(settings))


def _far_ones(settings: Settings) -> Iterator[tuple[str, str]]:
    """The addresses of other machines in use here, and those that mean nothing, each with what to call it."""
    from vcache.opening import tried
    from vcache.store.address import parse_url
    from vcache.store.url import is_network, schemes

    named = [("" if name == address else name, address) for name, address in settings.remotes.items()]
    for name, address in (*(("", tier) for tier in settings.tiers), *named):
        used = tried(settings, address)
        if used is not None:
            scheme = parse_url(used).scheme
            if is_network(scheme) or scheme not in schemes():
                yield name, used


def _configured(name: str, address: str, seen: set[Path]) -> Iterator[Finding]:
    """Whether a remote can be opened and answers, and what is known of it."""
    from vcache.store.guard import GuardedStore
    from vcache.store.guard.report import remote_at
    from vcache.store.url import open_store

    try:
        store = open_store(address)
    except (StoreError, UsageError) as error:
        yield Finding("bad", f"remote {name}".rstrip(), str(error))
        return
    assert isinstance(store, GuardedStore)
    what = f"remote {f'{name} ' if name else ''}{store.info.url.partition('?')[0]}"
    began_s = time.monotonic()
    try:
        why = store.check(_PATIENCE_S)
    finally:
        took_s = time.monotonic() - began_s
        store.close()
    if why is None:
        words = f"answers in {format_duration(took_s)}{', is only read' if store.info.is_read_only else ''}"
        yield Finding("ok", what, words)
    else:
        yield Finding("note", what, f"does not serve: {why}")
    seen.add(Path(store.directory).resolve())
    yield from _state_of(what, remote_at(Path(store.directory)))


def _state_of(what: str, remote: Remote) -> Iterator[Finding]:
    """What waits to be sent to a remote, and what was refused."""
    if remote.breaker.is_open:
        yield Finding("note", what, f"is left alone for now: {remote.breaker.why}")
    if remote.waiting:
        waiting = f"{remote.waiting} ({format_bytes(remote.waiting_bytes)})"
        yield Finding("note", what, f"{waiting} wait to be sent; the next command that uses it goes on")
    for refusal in remote.refusals:
        ago = format_duration((time.time_ns() - refusal.at_ns) / 1e9)
        yield Finding("note", what, f"{refusal.what} {ago} ago: {refusal.why}")


def _missing(directory: Path) -> Finding:
    above = next(parent for parent in directory.parents if parent.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        return Finding("bad", "directory", f"{directory} cannot be made: {above} is not writable")
    return Finding("ok", "directory", f"{directory} does not exist yet: it is made on first use")


def _opened(settings: Settings) -> Iterator[Finding]:
    """Whether the directory opens, and what its store says of itself."""
    from vcache.store.disk import DiskStore

    try:
        with open(settings.dir / "format", encoding="ascii", errors="replace") as file:
            text = file.read(80).strip()
        store = DiskStore(settings.dir, read_only=True)
    except FileNotFoundError:
        yield Finding("bad", "format", f"{settings.dir} holds no cache: name another directory, or empty it")
        return
    except (StoreError, OSError) as error:
        yield Finding("bad", "format", str(error))
        return
    try:
        counters = store.counters()
        yield Finding("ok", "format", text)
        yield Finding("ok", "entries", f"{counters.entries:,} in {format_bytes(store.disk_bytes())}")
    except VcacheError as error:
        yield Finding("bad", "index", str(error))
    finally:
        store.close()


def _permissions(directory: Path) -> Finding:
    status = directory.stat()
    mode = stat.S_IMODE(status.st_mode)
    if not os.access(directory, os.R_OK | os.X_OK):
        return Finding("bad", "permissions", f"{directory} ({mode:04o}) cannot be read by this user")
    if not os.access(directory, os.W_OK):
        return Finding("note", "permissions", f"{directory} ({mode:04o}) is not writable: nothing is kept")
    if mode & 0o002 and not mode & stat.S_ISVTX:
        return Finding(
            "note", "permissions", f"{directory} ({mode:04o}): everybody can plant results here; chmod o-w"
        )
    owner = "" if status.st_uid == os.geteuid() else f", owned by user {status.st_uid}"
    return Finding("ok", "permissions", f"{mode:04o}{owner}")


def file_system(path: Path, mounts: str) -> tuple[str, str]:
    """The mount point of a path and its type, from the text of /proc/self/mountinfo; ("", "") if not there."""
    best = ("", "")
    for line in mounts.split("\n"):
        left, _, right = line.partition(" - ")
        point = _unescaped(left.split(" ")[4]) if left.count(" ") >= 4 else ""
        is_above = point == "/" or path == Path(point) or Path(point) in path.parents
        if point and is_above and len(point) >= len(best[0]):  # of equal ones the last hides the others
            best = (point, right.split(" ")[0])
    return best


def _unescaped(point: str) -> str:
    r"""A mount point as it is: its spaces and the like are written \040 (proc(5))."""
    import re  # for who asks the doctor

    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), os.fsencode(point)))


def _kind(directory: Path) -> Finding:
    try:
        mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
    except OSError:
        return Finding("ok", "file system", "its kind is not known here")
    point, kind = file_system(directory.resolve(), mounts)
    if kind in _NETWORK:
        return Finding(
            "bad", "file system",
            f"{kind} on {point}: a shared index needs a local disk, other machines do not see each other's locks",
        )  # fmt: skip
    return Finding("ok", "file system", f"{kind} on {point}")


def _space(directory: Path, max_bytes: int | None) -> Finding:
    found = os.statvfs(directory)
    free_bytes = found.f_bavail * found.f_frsize
    words = f"{format_bytes(free_bytes)} free"
    if free_bytes < _LEAST_FREE_BYTES:
        return Finding("bad", "space", f"{words}: run vcache gc --max-bytes, or make room")
    if found.f_files and found.f_favail == 0:
        return Finding("bad", "space", f"{words}, but no file can be made: the inodes are used up")
    if max_bytes is not None and free_bytes < max_bytes:
        return Finding("note", "space", f"{words}, less than the budget of {format_bytes(max_bytes)}")
    return Finding("ok", "space", words)


def _reflink(directory: Path) -> Finding:
    """Whether large outputs can share their blocks with the cache."""
    if not os.access(directory, os.W_OK):
        return Finding("ok", "reflink", "not tried: the directory is not writable")
    from tempfile import TemporaryDirectory

    from vcache.fingerprint.outputs import _reflink as try_reflink  # the same call that a hit makes

    with TemporaryDirectory(prefix=".vcache-tmp-", dir=_scratch(directory)) as place:
        source, target = Path(place, "source"), Path(place, "target")
        source.write_bytes(bytes(4096))
        with open(source, "rb") as old, open(target, "wb") as new:
            is_shared = try_reflink(new.fileno(), old.fileno())
    words = "large outputs share their blocks with the cache" if is_shared else "not here: outputs are copied"
    return Finding("ok", "reflink", words)


def _scratch(directory: Path) -> Path:
    """Where a file may be put without being taken for a stranger's."""
    inner = directory / "tmp"
    return inner if inner.is_dir() else directory


def _clock(directory: Path) -> Finding:
    """Whether the machine's clock is set, and agrees with the file system's."""
    now_s = time.time()
    if now_s < _FIRST_SANE_S:
        return Finding("bad", "clock", f"says {time.ctime(now_s)}: set it, or nothing will ever expire")
    if not os.access(directory, os.W_OK):
        return Finding("ok", "clock", time.strftime("%Y-%m-%d %H:%M:%S %z"))
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile(prefix=".vcache-tmp-", dir=_scratch(directory)) as file:
        skew_s = os.fstat(file.fileno()).st_mtime - time.time()
    if abs(skew_s) > _MOST_SKEW_S:
        side = "ahead of" if skew_s > 0 else "behind"
        return Finding(
            "bad", "clock", f"files are stamped {format_duration(abs(skew_s))} {side} this machine's clock"
        )
    ahead_s = max((path.stat().st_mtime for path in directory.iterdir()), default=0.0) - now_s
    if ahead_s > _MOST_SKEW_S:
        return Finding("note", "clock", f"the cache was written {format_duration(ahead_s)} in the future")
    return Finding("ok", "clock", time.strftime("%Y-%m-%d %H:%M:%S %z"))


def _locks(directory: Path) -> Finding:
    """Lock files: held ones belong to running processes, the others were left by killed ones."""
    import fcntl

    held = left = 0
    names = [directory / "lock", directory / "janitor.lock"]
    if (directory / "locks").is_dir():
        names += (directory / "locks").iterdir()
    for path in names:
        try:
            with open(path, "rb") as file:
                try:
                    # Shared, and given back at once: who polls for it tries again anyway.
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    left += path.parent.name == "locks"
                except BlockingIOError:
                    held += 1
        except FileNotFoundError:
            continue
    words = f"{held} held by running processes"
    return Finding("ok", "locks", f"{words}, {left} left by killed ones (harmless)" if left else words)


def _quarantine(directory: Path) -> Finding:
    aside = directory / "quarantine"
    count = len(os.listdir(aside)) if aside.is_dir() else 0
    if count:
        return Finding(
            "note", "damage", f"{count} damaged records were found and kept in {aside}: check disk and memory"
        )
    return Finding("ok", "damage", "none was found; `vcache verify` reads everything")
