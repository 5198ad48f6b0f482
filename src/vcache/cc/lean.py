"""The hit path of `vcache cc`: a compile that was seen in this place before, answered in one millisecond.

Beside the store lies one file per compile of one place, a *record*: what the compile looked at, by stat
signature and digest, and what it made. While all of that stands, the record is the answer; on any doubt
`full` is asked, which knows the cache and writes records. A record is only ever a shortcut: it may be
lost at any time, and holds nothing that the cache does not.

Loaded by a bare interpreter a hundred times in a build: it must not import anything but builtins (not even
`os`, which is 0.4 ms), nor know the cache. The layout of a record is in docs/design/build.md.
"""

import posix
import sys
from _imp import source_hash
from time import time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

__all__ = [
    "HEEDED", "Doubt", "append", "content_digest", "cpu", "decode", "encode", "find_compiler", "home", "log", "main",
    "record_path", "request", "signature", "trusted_signature", "write_file",
]  # fmt: skip

MAGIC: "Final" = b"vcc-rec\x01"
# Two keys make 128 bits of CPython's keyed SipHash-1-3 (PEP 552 names modules by it): 4 GB/s, builtin.
_KEYS: "Final" = (0x7663616368652D31, 0x7663616368652D32)
_HEAD_BYTES: "Final" = len(MAGIC) + 16 + 12
_RACY_NS: "Final" = 2_000_000_000
_TOUCH_NS: "Final" = 86_400_000_000_000
_LONGEST_BYTES: "Final" = 64 << 20

HEEDED: "Final" = frozenset(
    b"""CCC_OVERRIDE_OPTIONS CLANG_CONFIG_FILE_SYSTEM_DIR CLANG_CONFIG_FILE_USER_DIR
    CLANG_NO_DEFAULT_CONFIG COLUMNS COMPILER_PATH CPATH CPLUS_INCLUDE_PATH C_INCLUDE_PATH
    DEPENDENCIES_OUTPUT GCC_COLORS GCC_COMPARE_DEBUG GCC_EXEC_PREFIX GCC_EXTRA_DIAGNOSTIC_OUTPUT
    GCC_URLS HOME LANG LANGUAGE LC_ALL LC_CTYPE LC_MESSAGES LD_RUN_PATH LIBRARY_PATH
    MACOSX_DEPLOYMENT_TARGET OBJCPLUS_INCLUDE_PATH OBJC_INCLUDE_PATH PATH SDKROOT SOURCE_DATE_EPOCH
    SUNPRO_DEPENDENCIES SUNPRO_OUTPUT TERM XDG_CACHE_HOME XDG_CONFIG_HOME""".split()
)
"""Variables that decide what a compiler does, or where its results are kept: each is part of a request."""

CPU_FACTS: "Final" = (b"vendor_id", b"cpu family", b"model", b"stepping", b"flags", b"Features", b"CPU ")
_UNHEEDED: "Final" = frozenset((b"VCACHE_CC_LOG",))


class Doubt(Exception):
    """This record is not the answer; the words say why."""


# --- what is asked ---------------------------------------------------------------------------


def find_compiler(name: str, home: str) -> str:
    """The path of the program that a shell would run; "" when there is none.

    Args:
        home: of the records. Launchers in it go by the names of compilers, and are none.
    """
    passed_over = f"{home}/launchers"
    if "/" in name:
        return name
    for directory in posix.environ.get(b"PATH", b"/bin:/usr/bin").split(b":"):
        place = directory.decode(sys.getfilesystemencoding(), "surrogateescape") or "."
        path = f"{place}/{name}"
        if (
            place != passed_over
            and posix.access(path, posix.X_OK)
            and posix.stat(path).st_mode & 0o170000 == 0o100000
        ):
            return path
    return ""


def request(compiler: str, argv: list[str], cwd: str) -> bytes:
    """Everything that is known of a compile without looking at a file: equal bytes ask for the same.

    Args:
        compiler: the path of the program that `argv[0]` names.
    """
    words = "\0".join((compiler, cwd, *argv)).encode(sys.getfilesystemencoding(), "surrogateescape")
    heeded = sorted(
        b"%s=%s" % pair
        for pair in posix.environ.items()
        if pair[0] in HEEDED or (pair[0].startswith(b"VCACHE_") and pair[0] not in _UNHEEDED)
    )
    # Where PWD is not the real path of the working directory, it may be what debug information names.
    pwd = posix.environ.get(b"PWD", b"")
    if pwd and pwd != cwd.encode(sys.getfilesystemencoding(), "surrogateescape"):
        heeded.append(b"PWD=" + pwd)
    if "=native" in "\0".join(argv):
        heeded.append(cpu())
    tty = b"tty" if posix.isatty(2) else b""
    return b"\0".join((words, b"", tty, *heeded))


def cpu() -> bytes:
    """What distinguishes this processor from others, for `-march=native`; empty where that is unknown."""
    try:
        fd = posix.open("/proc/cpuinfo", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        first = posix.read(fd, 16384).partition(b"\n\n")[0]
    finally:
        posix.close(fd)
    return b"\n".join(line for line in first.split(b"\n") if line.startswith(CPU_FACTS))


def home() -> str:
    """The directory of the records, which need not exist; "" where there is none to be had."""
    environ = posix.environ
    found = environ.get(b"VCACHE_DIR", b"")
    if not found:
        user = environ.get(b"HOME", b"")
        if sys.platform == "darwin":
            found = user and user + b"/Library/Caches/vcache"
        else:
            found = (environ.get(b"XDG_CACHE_HOME") or (user and user + b"/.cache")) and (
                (environ.get(b"XDG_CACHE_HOME") or user + b"/.cache") + b"/vcache"
            )
    if not found or found[:1] == b"~":
        return ""
    return found.decode(sys.getfilesystemencoding(), "surrogateescape") + "/cc"


def record_path(home: str, asked: bytes) -> str:
    """Where the record of a request lies."""
    name = f"{source_hash(_KEYS[0], asked).hex()}{source_hash(_KEYS[1], asked).hex()}"
    return f"{home}/{name[:2]}/{name[2:]}"


# --- a record --------------------------------------------------------------------------------


def encode(
    asked: bytes,
    looked_at: list[tuple[str, str, str]],
    absent: list[str],
    outs: list[tuple[str, bytes]],
    said: list[tuple[int, bytes]],
) -> bytes:
    """The bytes of a record.

    Args:
        looked_at: path, signature ("" for one that is not to be trusted) and digest of each file.
        absent: paths where there was nothing.
        outs: path and content of each file that was made.
        said: stream and bytes of what was written, in order.
    """
    fields = [str(len(looked_at)), *(part for each in looked_at for part in each)]
    fields += [str(len(absent)), *absent]
    fields += [str(len(outs)), *(part for path, data in outs for part in (path, str(len(data))))]
    fields += [str(len(said)), *(part for stream, data in said for part in (str(stream), str(len(data))))]
    table = "\0".join(fields).encode(sys.getfilesystemencoding(), "surrogateescape")
    blobs = b"".join([data for _, data in outs] + [data for _, data in said])
    lengths = b"".join(len(part).to_bytes(4, "little") for part in (asked, table, blobs))
    rest = lengths + asked + table + blobs
    return MAGIC + source_hash(_KEYS[0], rest) + source_hash(_KEYS[1], rest) + rest


def decode(
    data: bytes,
) -> "tuple[bytes, list[tuple[str, str, str]], list[str], list[tuple[str, bytes]], list[tuple[int, bytes]]]":
    """What `encode` was given.

    Raises:
        Doubt: damaged, cut short, or of another version.
    """
    rest = memoryview(data)[len(MAGIC) + 16 :]
    seal = source_hash(_KEYS[0], rest) + source_hash(_KEYS[1], rest)
    if data[: len(MAGIC)] != MAGIC or data[len(MAGIC) : len(MAGIC) + 16] != seal:
        raise Doubt("the record is damaged")
    asked_bytes, table_bytes, _ = (int.from_bytes(rest[i : i + 4], "little") for i in (0, 4, 8))
    at = _HEAD_BYTES + asked_bytes
    fields = iter(
        data[at : at + table_bytes].decode(sys.getfilesystemencoding(), "surrogateescape").split("\0")
    )
    at += table_bytes
    files = [(next(fields), next(fields), next(fields)) for _ in range(int(next(fields)))]
    absent = [next(fields) for _ in range(int(next(fields)))]
    outs, said = [], []
    for _ in range(int(next(fields))):
        path, length = next(fields), int(next(fields))
        outs.append((path, data[at : at + length]))
        at += length
    for _ in range(int(next(fields))):
        stream, length = int(next(fields)), int(next(fields))
        said.append((stream, data[at : at + length]))
        at += length
    return data[_HEAD_BYTES : _HEAD_BYTES + asked_bytes], files, absent, outs, said


def signature(status: posix.stat_result) -> str:
    """What changes whenever a file's content may have."""
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def trusted_signature(status: posix.stat_result, now_ns: int) -> str:
    """The signature of a file; "" while a change could still hide in the same tick of a clock."""
    # As in `fingerprint.digests.is_settled`: an mtime far ahead was set by hand, and is harmless.
    is_settled = status.st_ctime_ns < now_ns - _RACY_NS and abs(status.st_mtime_ns - now_ns) > _RACY_NS
    return signature(status) if is_settled else ""


def content_digest(path: str) -> str:
    """The BLAKE2b of a file in hexadecimal. Only for what a signature cannot answer."""
    from _blake2 import blake2b

    return blake2b(_content(path), digest_size=32).hexdigest()


# --- an answer -------------------------------------------------------------------------------


def _answer(asked: bytes, path: str) -> None:
    """Put back and say what the record at a path holds.

    Raises:
        Doubt: something is not as it was.
        OSError: no record, or something cannot be read or written.
    """
    data = _content(path, is_own=True)
    known, files, absent, outs, said = decode(data)
    if known != asked:
        raise Doubt("another request has the same name")
    renewed = _look(files, absent)
    for out, _ in outs:
        _require_plain(out)
    for out, content in outs:
        write_file(out, content)
    for stream, words in said:
        _write(stream, words)
    if renewed is not None:
        write_file(path, encode(asked, renewed, absent, outs, said), mode=0o600)
    elif time_ns() - posix.stat(path).st_mtime_ns > _TOUCH_NS:
        posix.utime(path)  # what is used stays, when old records are swept away


def _look(files: list[tuple[str, str, str]], absent: list[str]) -> "list[tuple[str, str, str]] | None":
    """Whether all is as it was: None, or the files with signatures that hold from here on.

    Raises:
        Doubt: something is not.
    """
    stat, doubtful = posix.stat, False
    for path, known, _ in files:
        status = stat(path)
        # Written out, as this loop is half of a hit.
        if f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}" != known:
            doubtful = True
    access = posix.access
    for path in absent:
        if access(path, 0):
            raise Doubt(f"{path} is there")
    return list(_look_closely(files)) if doubtful else None


def _look_closely(files: list[tuple[str, str, str]]) -> "Iterator[tuple[str, str, str]]":
    now_ns = time_ns()
    for path, known, digest in files:
        status = posix.stat(path)
        if signature(status) == known:
            yield path, known, digest
        elif digest and content_digest(path) == digest:
            # The signature of before the content was read: a change meanwhile shows next time.
            yield path, trusted_signature(status, now_ns), digest
        else:
            raise Doubt(f"{path} changed")


def _require_plain(path: str) -> None:
    try:
        status = posix.lstat(path)
    except FileNotFoundError:
        return
    if status.st_mode & 0o170000 != 0o100000:
        raise Doubt(f"{path} is no regular file")


# --- files -----------------------------------------------------------------------------------


def _content(path: str, *, is_own: bool = False) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        status = posix.fstat(fd)
        length = status.st_size
        if is_own and status.st_uid != posix.geteuid():
            raise Doubt("the record is somebody else's")
        if length > _LONGEST_BYTES:
            raise Doubt(f"{path} is too long")
        data = posix.read(fd, length + 1)
        while len(data) < length and (more := posix.read(fd, length - len(data))):
            data += more
        return data
    finally:
        posix.close(fd)


def write_file(path: str, data: bytes, mode: int = 0o666) -> None:
    """Give a file new content in one step: a reader sees the old one or the new one.

    Args:
        mode: less the umask, as a compiler creates files.
    """
    temporary = f"{path}.{posix.getpid()}.vcc"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC | posix.O_NOFOLLOW
    try:
        fd = posix.open(temporary, flags, mode)
    except FileExistsError:  # left by a process of that number that was killed
        posix.unlink(temporary)
        fd = posix.open(temporary, flags, mode)
    try:
        try:
            _write(fd, data)
        finally:
            posix.close(fd)
        posix.replace(temporary, path)
    except BaseException:
        posix.unlink(temporary)
        raise


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[posix.write(fd, data) :]


def append(path: str, line: bytes) -> None:
    """Add a line to a file of many writers; never in anybody's way."""
    try:
        fd = posix.open(path, posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC, 0o600)
        try:
            posix.write(fd, line)
        finally:
            posix.close(fd)
    except OSError:
        pass


# --- the command -----------------------------------------------------------------------------


def main(argv: list[str]) -> None:
    """Answer a compiler's command from its record, and end this process; return where there is no answer.

    Args:
        argv: the compiler and its arguments, or the options of `vcache cc` itself.
    """
    try:
        if argv and argv[0][:1] != "-" and (directory := home()):
            program = find_compiler(argv[0], directory)
            if not _may_compile(argv) and program and posix.access(directory, posix.W_OK):
                append(f"{directory}/counts", b"raw nothing is compiled\n")
                _become(program, argv)
            asked = request(program, argv, posix.getcwd())
            _answer(asked, record_path(directory, asked))
            append(f"{directory}/counts", b"hit\n")
            if b"VCACHE_CC_LOG" in posix.environ:
                log("hit, by its record", argv)
            posix._exit(0)
    except (OSError, Doubt, ValueError, StopIteration):
        pass  # whatever it was, the long way finds it as well, and says so
    if sys.flags.no_site:
        # Started bare, for a hit; what follows needs what is installed.
        import site

        site.main()


def _may_compile(argv: list[str]) -> bool:
    """Whether a command may be one that is kept. A `configure` runs a hundred that are not: links, questions."""
    return b"VCACHE_CC_LOG" in posix.environ or any(word in ("-c", "-S") or word[:1] == "@" for word in argv)


def _become(program: str, argv: list[str]) -> None:
    """As `running.become`, which costs 10 ms of imports."""
    import _signal  # type: ignore[import-not-found]  # builtin; `signal` costs an enum

    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)
    posix.execv(program, [program, *argv[1:]])


def log(words: str, argv: list[str]) -> None:
    """A line in the file that VCACHE_CC_LOG names."""
    line = f"vcache cc: {words}: {' '.join(argv)}\n".encode("utf-8", "surrogateescape")
    append(posix.environ[b"VCACHE_CC_LOG"].decode(sys.getfilesystemencoding(), "surrogateescape"), line)
