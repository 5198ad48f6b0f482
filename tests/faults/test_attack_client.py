"""Attacks on who reads from a remote: forged values, lists, results and files, over real tiers and real builds."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lz4.frame
import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.patience import no_hang
from tests.servers import RawRequest, RawServer, VcacheServer, certificates, raw_http, vcache_serve
from vcache.cache import Cache
from vcache.discovery import seen_key
from vcache.entry import Encoding, Entry, Key, Record, make_key
from vcache.hash import digest
from vcache.outcome import Hit
from vcache.serialize import dump
from vcache.store.disk import DiskStore
from vcache.store.objects import key_of, pack
from vcache.store.url import open_store
from vcache.transfer import Writer, receive

MOST_BYTES: Final = 300 << 20
GIB: Final = 1 << 30


def an_entry(key: Key, content: bytes, **fields: object) -> Record:
    given: dict[str, object] = {
        "digest": digest(content),
        "size_bytes": len(content),
        "created_ns": 1,
    } | fields
    return Record(Entry(key, **given).encode(), content)  # type: ignore[arg-type]


def packed(record: Record) -> bytes:
    return b"".join(map(bytes, pack(record)))


@contextmanager
def remote(answer: Callable[[Key], bytes | None]) -> Iterator[RawServer]:
    """A server that has an answer of its own for each key."""

    def script(connection: socket.socket, request: RawRequest) -> bool:
        method, target, _ = request.line.split(" ")
        try:
            key = key_of(target.rpartition("/")[2])
        except Exception:
            key = None
        body = None if key is None or method not in ("GET", "HEAD") else answer(key)
        status = "404 Not Found" if body is None else "200 OK"
        connection.sendall(f"HTTP/1.1 {status}\r\ncontent-length: {len(body or b'')}\r\n\r\n".encode())
        if method != "HEAD":
            connection.sendall(body or b"")
        return True

    with raw_http(script) as server:
        yield server


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


@contextmanager
def little_memory() -> Iterator[None]:
    Path("/proc/self/clear_refs").write_text("5")
    before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    yield
    assert peak_bytes() - before < MOST_BYTES


# -- values ---------------------------------------------------------------------------------------


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that can be imported and must not be: it leaves a file."""
    sprung = tmp_path / "sprung"
    name = "trap_of_a_remote"
    (tmp_path / f"{name}.py").write_text(
        f"open({str(sprung)!r}, 'w').close()\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass Thing:\n    x: int = 0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield sprung
    sys.modules.pop(name, None)


def thing_of(trap: Path) -> tuple[str, bytes]:
    """A value of the trap's class, as an honest program would have packed it."""
    import trap_of_a_remote  # type: ignore[import-not-found]

    value = dump(trap_of_a_remote.Thing(7))
    trap.unlink()
    del sys.modules["trap_of_a_remote"]
    return value.codec, b"".join(map(bytes, value.parts))


def test_a_value_of_a_remote_imports_nothing(tmp_path: Path, trap: Path) -> None:
    """Neither while the remote is a tier, nor from the local tier where it was promoted to, later."""
    codec, content = thing_of(trap)
    with remote(lambda key: packed(an_entry(key, content, codec=codec))) as server:
        with Cache(tmp_path / "cache", f"{server.address}/?state={tmp_path / 'state'}") as cache:
            assert cache.get("thing", "missing") == "missing"
        with Cache(tmp_path / "cache", f"{server.address}/?state={tmp_path / 'state'}") as cache:
            assert cache.get("thing", "missing") == "missing"
    with closing(DiskStore(tmp_path / "cache")) as store:
        assert store.get(make_key("thing")) is not None, "it was promoted"
        assert not store.info.is_own
    with Cache(tmp_path / "cache") as cache:
        assert cache.get("thing", "missing") == "missing"
    assert not trap.exists()


def test_a_value_from_a_file_imports_nothing(tmp_path: Path, trap: Path) -> None:
    """What `vcache import` takes from a file is others' too."""
    codec, content = thing_of(trap)
    path = tmp_path / "transfer"
    with path.open("wb") as stream:
        writer = Writer(stream)
        key = make_key("thing")
        writer.put({key: an_entry(key, content, codec=codec)})
        writer.end()
    with closing(DiskStore(tmp_path / "cache")) as store, path.open("rb") as stream:
        assert receive(stream, store).moved == 1
    with Cache(tmp_path / "cache") as cache:
        assert cache.get("thing", "missing") == "missing"
    assert not trap.exists()


def test_ones_own_values_import_what_they_need(tmp_path: Path, trap: Path) -> None:
    """In a directory where nobody else's entries are, a class is found by its name."""
    codec, content = thing_of(trap)
    with closing(DiskStore(tmp_path / "cache")) as store:
        store.put(make_key("thing"), an_entry(make_key("thing"), content, codec=codec))
    with Cache(tmp_path / "cache") as cache:
        assert getattr(cache.get("thing"), "x", None) == 7
    assert trap.exists()


def test_a_pickle_of_a_remote_is_not_loaded(tmp_path: Path) -> None:
    """Also where a program allows pickles: it meant its own."""
    sprung = tmp_path / "sprung"
    pickle = b"cos\nsystem\n(S'touch " + str(sprung).encode() + b"'\ntR."
    with (
        remote(lambda key: packed(an_entry(key, pickle, codec="pickle"))) as server,
        Cache(
            tmp_path / "cache", f"{server.address}/?state={tmp_path / 'state'}", allow_pickle=True
        ) as cache,
    ):
        assert cache.get("thing", "missing") == "missing"
    with Cache(tmp_path / "cache", allow_pickle=True) as cache:
        assert cache.get("thing", "missing") == "missing"
    assert not sprung.exists()


NESTED: Final = {
    "lists": b"\x91" * 100_000 + b"\xc0",
    "maps": b"\x81\xa1a" * 100_000 + b"\xc0",
    "a list of 4 billion": b"\xdd\xff\xff\xff\xff",
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff",
    "a text of 4 GB": b"\xdb\xff\xff\xff\xff",
    "an extension of 4 GB": b"\xc9\xff\xff\xff\xff\x01",
    "extensions in extensions": msgpack.packb(
        msgpack.ExtType(1, msgpack.packb(msgpack.ExtType(1, b"\x91" * 5000)))
    ),
    "keys that cannot be": b"\x81\x91\xc0\xc0",
    "a number of 100,000 digits": msgpack.packb(msgpack.ExtType(2, b"9" * 100_000)),
}


@pytest.mark.parametrize("name", NESTED)
def test_a_value_that_nests_or_claims_much_is_a_miss(tmp_path: Path, name: str) -> None:
    """Whatever msgpack says of itself, it is read within the memory and the stack that there are."""
    with (
        remote(lambda key: packed(an_entry(key, NESTED[name], codec="msgpack"))) as server,
        Cache(tmp_path / "cache", f"{server.address}/?state={tmp_path / 'state'}") as cache,
        little_memory(),
    ):
        assert cache.get("value", "missing") == "missing"
        assert cache.put("value", "healed")
        assert cache.get("value") == "healed"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200),
    codec=st.sampled_from(["msgpack", "str", "bytes", "numpy", "arrow", "json", "x"]),
)
def test_no_content_breaks_a_reader(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, codec: str
) -> None:
    """A content with the right digest is a value or a miss, never an error."""
    store = open_store("mem:1MB")
    store.put(make_key("value"), an_entry(make_key("value"), content, codec=codec))
    with Cache(store) as cache:
        cache.get("value")


def test_a_bomb_of_a_remote_is_not_held(tmp_path: Path) -> None:
    """What unpacks to more than the limit of a tier is a miss, whatever its digest."""
    zeros = bytes(GIB // 8)
    body = lz4.frame.compress(zeros, store_size=False)

    def bomb(key: Key) -> bytes:
        head = Entry(key, digest(zeros), len(zeros), encoding=Encoding.LZ4, created_ns=1).encode()
        return packed(Record(head, body))

    def many(key: Key) -> bytes:
        claimed = 2 * GIB
        head = Entry(key, digest(b"x"), claimed, encoding=Encoding.LZ4, created_ns=1).encode()
        return packed(Record(head, lz4.frame.compress(zeros, store_size=False) * 16))

    for answer in (bomb, many):
        with remote(answer) as server, little_memory():
            store = open_store(f"{server.address}/?state={tmp_path / 'state'}&limit=64MB")
            assert store.get(make_key("bomb")) is None
            store.close()


# -- answers of other protocols -------------------------------------------------------------------


@contextmanager
def talker(answer: bytes, *, ends: bool = False) -> Iterator[int]:
    """A server that answers whatever comes with some bytes, and again and again if it does not end."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            while connection.recv(1 << 16):
                connection.sendall(answer)
                while not ends:
                    connection.sendall(answer)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        for each in (listener, *connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


TALK: Final = {
    "a length of a terabyte": b"$1099511627776\r\n" + b"x" * 65536,
    "a negative length": b"$-5\r\n",
    "a list of a billion": b"*1000000000\r\n",
    "lists in lists": b"*1\r\n" * 65536,
    "a line without end": b"+" + b"x" * 65536,
    "numbers without end": b":" + b"9" * 65536,
    "an error": b"-MOVED 1 169.254.169.254:80\r\n",
    "another kind": b"%1\r\n+a\r\n+b\r\n",
    "nothing that is known": os.urandom(65536),
    "HTTP": b"HTTP/1.1 200 OK\r\n\r\n",
    "gRPC that is none": b"\0\0\0\4\0\0\0\0\0" + b"\xff\xff\xff\1\1\0\0\0\1" + b"x" * 65536,
}


@pytest.mark.parametrize("scheme", ["redis", "reapi", "http"])
@pytest.mark.parametrize("name", TALK)
def test_a_server_that_talks_nonsense_is_a_miss_in_time(tmp_path: Path, scheme: str, name: str) -> None:
    """Bytes that are no protocol, or claim much, cost the deadline once and little memory."""
    with talker(TALK[name]) as port, no_hang(), little_memory():
        store = open_store(
            f"{scheme}://127.0.0.1:{port}?deadline=500ms&retries=0&limit=1MB&state={tmp_path / 'state'}"
        )
        for number in range(3):
            assert store.get(make_key(str(number))) is None
        store.close()


def test_a_huge_file_of_a_share_is_no_record(tmp_path: Path) -> None:
    """A file that somebody put in the place of a record is read within the limit."""
    store = open_store(f"fs+file://{tmp_path / 'share'}?state={tmp_path / 'state'}&limit=1MB&write=through")
    key = make_key("huge")
    store.put(key, an_entry(key, b"content"))
    (path,) = (path for path in (tmp_path / "share").rglob("*") if path.is_file())
    os.truncate(path, 4 * GIB)
    with little_memory():
        assert store.get(key) is None
    store.close()


@pytest.mark.parametrize("kind", ["fifo", "link to a device", "directory", "link to a secret"])
def test_what_is_no_file_in_a_share_is_no_record(tmp_path: Path, kind: str) -> None:
    """A FIFO, a device or a directory in the place of a record is a miss, in time."""
    store = open_store(
        f"fs+file://{tmp_path / 'share'}?state={tmp_path / 'state'}&write=through&deadline=500ms&retries=0"
    )
    key = make_key("odd")
    store.put(key, an_entry(key, b"content"))
    (path,) = (path for path in (tmp_path / "share").rglob("*") if path.is_file())
    path.unlink()
    (tmp_path / "secret").write_text("secret")
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "link to a device":
            path.symlink_to("/dev/zero")
        case _:
            path.symlink_to(tmp_path / "secret")
    with no_hang(), little_memory():
        assert store.get(key) is None
    store.close()


def test_the_wrong_host_is_not_spoken_to(tmp_path: Path) -> None:
    """A certificate of another host's, of an unknown authority, or none at all: nothing is sent."""
    import ssl

    made = certificates(tmp_path, host="other.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.server, made.server_key)
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                    heard.append(secured.recv(1000))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    for scheme in ("https", "rediss", "reapis"):
        for option in (f"&ca={made.authority}", ""):
            address = f"{scheme}://127.0.0.1:{port}?state={tmp_path / 'state'}&deadline=2s&retries=0{option}"
            store = open_store(address)
            assert store.get(make_key("x")) is None
            store.close()
    listener.close()
    assert not any(heard)


# -- builds ---------------------------------------------------------------------------------------


@dataclass
class Machine:
    """A checkout with a cache of its own."""

    place: Path
    remote: str

    def __post_init__(self) -> None:
        self.tree = self.place / "tree"
        self.tree.mkdir(parents=True)
        (self.tree / "build.ninja").write_text(
            "rule copy\n  command = cp $in $out && echo $out: $in extra.h > $out.d\n  depfile = $out.d\n"
            "build out/one: copy one\nbuild out/two: copy out/one\n"
        )
        (self.tree / "out").mkdir()
        (self.tree / "one").write_text("content")
        (self.tree / "extra.h").write_text("extra")

    def build(self) -> str:
        environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("VCACHE_", "XDG_"))
        }
        environ |= {
            "HOME": str(self.place),
            "VCACHE_DIR": str(self.place / "cache"),
            "VCACHE_REMOTE": self.remote,
        }
        done = subprocess.run(
            [sys.executable, "-m", "vcache", "build", "-v"], cwd=self.tree, env=environ,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        assert (self.tree / "out" / "two").read_text() == "content"
        return done.stdout


@pytest.fixture
def poisoned(tmp_path: Path) -> Iterator[tuple[VcacheServer, Cache]]:
    """A server that has what an honest machine built, and its entries to be changed."""
    with vcache_serve(tmp_path / "served") as server:
        Machine(tmp_path / "honest", f"{server.url}?write=through").build()
        with Cache(server.directory) as cache:
            yield server, cache


def keys_in(cache: Cache, namespace: bytes) -> list[Key]:
    return [key for key in cache.store.scan() if key.startswith(namespace)]


def test_an_honest_remote_is_used(tmp_path: Path, poisoned: tuple[VcacheServer, Cache]) -> None:
    """What the attacks below are mounted on is asked for, and believed where it is sound."""
    server, _ = poisoned
    assert "2 from the cache" in Machine(tmp_path / "victim", server.url).build()


LONG: Final = "x" * 5000
HOSTILE_LISTS: Final[dict[str, object]] = {
    "no list": "text",
    "numbers": [1, 2, 3],
    "lists of numbers": [[1, 2], [[1, 2]]],
    "kinds that are none": [[[1, 2], [None, b"x"], [[], {}]]],
    "names that are none": [
        [["file", "a\0b"]],
        [["file", LONG]],
        [["file", "\udc80"]],
        [["absent", ""]],
        [["list", "\0"]],
    ],
    "devices": [
        [["file", "/dev/zero"]],
        [["file", "/proc/self/mem"]],
        [["file", "/dev/tty"]],
        [["file", "/proc/kmsg"]],
    ],
    "other kinds": [
        [["dir", "/proc"]],
        [["dir", "/dev"]],
        [["env", "HOME"]],
        [["tool", "../../../bin/sh"]],
        [["code", "x"]],
    ],
    "climbing": [[["file", "../../../../etc/passwd"]], [["list", "../.."]], [["dir", ".."]]],
    "the whole machine": [[["dir", "/"]], [["glob", "/**"]], [["glob-all", "/**"]], [["glob", "**/../**"]]],
    "patterns that take for ever": [[["glob", "/" + "**/" * 40 + "x"]], [["glob", "a*" * 100 + "b"]]],
    "100,000 names": [[["file", f"nothing/{number}"] for number in range(100_000)]],
    "100,000 lists": [[["file", f"nothing/{number}"]] for number in range(100_000)],
}


@pytest.mark.parametrize("name", HOSTILE_LISTS)
def test_a_hostile_list_of_names_leads_nowhere(
    tmp_path: Path, poisoned: tuple[VcacheServer, Cache], name: str
) -> None:
    """A build whose remote lies about what it once read is right, and ends as if it had said nothing."""
    server, cache = poisoned
    keys = keys_in(cache, seen_key(b""))
    assert keys
    for key in keys:
        assert cache.put_key(key, HOSTILE_LISTS[name])
    with no_hang():
        Machine(tmp_path / "victim", server.url).build()


def files_of(kind: str, outside: Path) -> object:
    content = digest(b"content")
    return {
        "another output": [["out/two", 0o644, content], ["out/one", 0o644, content]],
        "a source": [["one", 0o644, content]],
        "above": [["../evil", 0o644, content]],
        "absolute": [[f"{outside}/evil", 0o644, content]],
        "a link out": [["out/one", 0o120777, str(outside).encode()], ["out/one/evil", 0o644, content]],
        "a device": [["out/one", 0o060644, content]],
        "a FIFO": [["out/one", 0o010644, content]],
        "set-uid": [["out/one", 0o106755, content]],
        "long": [["out/" + LONG, 0o644, content]],
        "a mode beyond": [["out/one", 1 << 70, content]],
        "NUL": [["out/one\0", 0o644, content]],
        "many": [[f"out/{number}", 0o644, content] for number in range(100_000)],
        "deep": [["out/" + "d/" * 2000 + "one", 0o644, content]],
        "twice": [["out/one", 0o644, content], ["out/one", 0o755, content]],
        "a content that is not there": [["out/one", 0o644, digest(b"nothing")]],
        "a short digest": [["out/one", 0o644, b"x"]],
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "another output", "a source", "above", "absolute", "a link out", "a device", "a FIFO", "set-uid", "long",
        "a mode beyond", "NUL", "many", "deep", "twice", "a content that is not there", "a short digest",
    ],
)  # fmt: skip
def test_a_result_writes_its_outputs_and_nothing_else(
    tmp_path: Path, poisoned: tuple[VcacheServer, Cache], kind: str
) -> None:
    """Whatever a result of the remote says that it made, no other file appears and no source changes."""
    server, cache = poisoned
    outside = tmp_path / "outside"
    outside.mkdir()
    changed = 0
    for key in cache.store.scan():
        found = cache.peek_key(key)
        if isinstance(found, Hit) and isinstance(found.value, dict) and "files" in found.value:
            changed += cache.put_key(key, {**found.value, "files": files_of(kind, outside)})
    assert changed
    victim = Machine(tmp_path / "victim", server.url)
    with no_hang():
        victim.build()
    made = {os.path.relpath(path, victim.tree) for path in victim.tree.rglob("*") if path.is_file()}
    assert made - {".gitignore"} <= {
        "build.ninja",
        "one",
        "extra.h",
        "out/one",
        "out/two",
        "out/one.d",
        "out/two.d",
    } | {name for name in made if name.startswith(".")}
    assert (victim.tree / "one").read_text() == "content"
    assert list(outside.iterdir()) == []
    assert not (victim.place / "evil").exists()
    mode = (victim.tree / "out" / "one").lstat().st_mode
    assert stat.S_ISREG(mode)
    assert not mode & 0o7000


HOSTILE_SETS: Final = {
    "no keys": b"nothing of the kind",
    "a length beyond": struct.pack("<I", 0xFFFFFFFF) + b"x",
    "keys of nobody": b"".join(struct.pack("<I", 32) + os.urandom(32) for _ in range(20_000)),
    "one key, often": (struct.pack("<I", 4) + b"same") * 100_000,
    "long keys": b"".join(struct.pack("<I", 60_000) + os.urandom(60_000) for _ in range(50)),
    "empty ones": bytes(400_000),
}


@pytest.mark.parametrize("name", HOSTILE_SETS)
def test_a_hostile_set_of_keys_costs_no_build(
    tmp_path: Path, poisoned: tuple[VcacheServer, Cache], name: str
) -> None:
    """What a remote says that the last build asked for is fetched as far as it goes, and nobody waits."""
    server, cache = poisoned
    keys = keys_in(cache, b".keysets") or [make_key("x", namespace=".keysets")]
    for key in keys:
        assert cache.put_key(key, HOSTILE_SETS[name])
    with no_hang():
        Machine(tmp_path / "victim", server.url).build()
