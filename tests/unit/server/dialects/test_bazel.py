"""What Bazel's HTTP cache answers, request by request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from tests.unit.server.dialects.asked import Asked
from vcache.hash import digest
from vcache.server.callers import Caller, Role
from vcache.server.dialects.bazel import Bazel
from vcache.server.refused import Refusal, Refused
from vcache.testing.records import body_of
from vcache.wire import reapi_pb2 as wire
from vcache.wire.text import to_json

ACTION = "ab" * 32
LARGE = body_of(3 << 20)


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def named(content: bytes) -> wire.Digest:
    return wire.Digest(hash=sha(content), size_bytes=len(content))


def file(content: bytes, path: str = "out") -> wire.OutputFile:
    return wire.OutputFile(path=path, digest=named(content))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Asked]:
    asked = Asked(Bazel(), tmp_path, limit_bytes=64 << 20)
    yield asked
    asked.store.close()
    assert list(asked.uploads.iterdir()) == [], "an upload left its file behind"


def put(server: Asked, content: bytes) -> wire.Digest:
    assert server.ask("PUT", f"/cas/{sha(content)}", content).status == 200
    return named(content)


# -- contents ------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"x", b"hello" * 1000, LARGE], ids=["tiny", "small", "large"])
@pytest.mark.parametrize("base", ["", "/inst", "/a/b.c/d"])
def test_a_content_comes_back(server: Asked, content: bytes, base: str) -> None:
    """Under its SHA-256, its BLAKE3, and any instance; it is in the store once."""
    for name in (sha(content), digest(content).hex()):
        assert server.ask("GET", f"{base}/cas/{name}").status == 404
        assert server.ask("PUT", f"{base}/cas/{name}", content).status == 200
        answer = server.ask("GET", f"/other/cas/{name}")
        assert (answer.status, answer.body) == (200, content)
        head = server.ask("HEAD", f"{base}/cas/{name}")
        assert (head.status, head.headers["content-length"], head.body) == (200, str(len(content)), b"")
    assert server.store.counters().size_bytes < 1.5 * len(content) + 2000


@pytest.mark.parametrize("content", [b"x", LARGE], ids=["tiny", "large"])
def test_a_content_of_another_name_is_refused(server: Asked, content: bytes) -> None:
    """Nothing is kept that does not have the digest it is put under."""
    name = sha(b"other")
    assert server.ask("PUT", f"/cas/{name}", content).status == 400
    assert server.ask("GET", f"/cas/{name}").status == 404
    assert server.noted == []


def test_a_body_that_breaks_off_leaves_nothing(server: Asked) -> None:
    """A client that goes away before the last byte."""
    name = sha(LARGE)
    headers = {"content-length": str(len(LARGE))}
    answer = server.ask("PUT", f"/cas/{name}", LARGE[: 2 << 20], headers=headers, is_sized=False)
    assert answer.status == 400
    assert server.ask("GET", f"/cas/{name}").status == 404


def test_the_empty_content_is_always_there(server: Asked) -> None:
    """Clients ask for it before anybody has put it; something else under its name is refused."""
    for name in (sha(b""), digest(b"").hex()):
        answer = server.ask("GET", f"/cas/{name}")
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
        assert server.ask("PUT", f"/cas/{name}", b"").status == 200
        assert server.ask("PUT", f"/cas/{name}", b"x").status == 400


def test_a_second_put_is_read_and_dropped(server: Asked) -> None:
    """It is answered as the first, and written nowhere; a lie about its length is still one."""
    put(server, LARGE)
    noted = list(server.noted)
    chunks = [LARGE[at : at + 65536] for at in range(0, len(LARGE), 65536)]
    assert server.ask("PUT", f"/cas/{sha(LARGE)}", chunks).status == 200
    assert server.noted == noted
    short = server.ask("PUT", f"/cas/{sha(LARGE)}", b"x", headers={"content-length": "9"}, is_sized=False)
    assert short.status == 400


def test_zstd_is_spoken_for_contents(server: Asked) -> None:
    """Sent to who accepts it where it saves something; taken from who says so, up to what he says."""
    text, noise, zeros = json.dumps(list(range(4000))).encode(), body_of(20_000), bytes(20_000)
    for content in (text, noise, zeros):
        put(server, content)
        answer = server.ask("GET", f"/cas/{sha(content)}", headers={"accept-encoding": "gzip, zstd;q=0.8"})
        if content is not noise:
            assert answer.headers["content-encoding"] == "zstd"
            assert zstandard.decompress(answer.body) == content
        else:
            assert "content-encoding" not in answer.headers
            assert answer.body == content
    plain = server.ask("GET", f"/cas/{sha(text)}", headers={"accept-encoding": "gzip, zstd;q=0"})
    assert plain.body == text


@pytest.mark.parametrize("content", [b"y" * 100, b"text " * 400_000, LARGE], ids=["short", "text", "noise"])
def test_a_packed_body_is_kept_unpacked(server: Asked, content: bytes) -> None:
    """`Content-Encoding: zstd`, with and without its size."""
    packed = zstandard.compress(content)
    chunks = [packed[at : at + 65536] for at in range(0, len(packed), 65536)]
    headers = {"content-encoding": "zstd", "x-digest-sizebytes": str(len(content))}
    assert server.ask("PUT", f"/cas/{sha(content)}", chunks, headers=headers).status == 200
    assert server.ask("GET", f"/cas/{sha(content)}").body == content
    del headers["x-digest-sizebytes"]
    name = digest(content).hex()
    assert server.ask("PUT", f"/cas/{name}", chunks, headers=headers).status == 200
    assert server.ask("GET", f"/cas/{name}").body == content


def test_packed_lies_are_refused(server: Asked) -> None:
    """Damage, an end too early, more than was said, a bomb, another packing, no number."""
    content = b"text " * 4000
    packed = zstandard.compress(content)
    bomb = zstandard.compress(bytes(200 << 20))
    size = str(len(content))
    cases = [
        (b"nonsense", "zstd", size, 400),
        (packed[:-5], "zstd", size, 400),
        (packed, "zstd", "5", 413),
        (bomb, "zstd", str(1 << 40), 413),
        (packed, "br", size, 400),
        (packed, "zstd", "-1", 400),
    ]
    for body, packing, said, status in cases:
        headers = {"content-encoding": packing, "x-digest-sizebytes": said}
        assert server.ask("PUT", f"/cas/{sha(content)}", body, headers=headers).status == status
    assert server.ask("GET", f"/cas/{sha(content)}").status == 404


def test_too_long_a_body_is_refused_before_it_is_read(server: Asked) -> None:
    """By its length where it has one, by what came where it has none."""
    headers = {"content-length": str(65 << 20)}
    assert server.ask("PUT", f"/cas/{ACTION}", b"", headers=headers, is_sized=False).status == 413
    chunks = [bytes(1 << 20)] * 65
    assert server.ask("PUT", f"/cas/{ACTION}", chunks, is_sized=False).status == 413


# -- results -------------------------------------------------------------------------------


def test_a_result_is_served_as_it_came(server: Asked) -> None:
    """Byte for byte, unknown fields too."""
    body = wire.ActionResult(output_files=[file(b"out")], exit_code=0).SerializeToString() + b"\xa2\x06\x02hi"
    put(server, b"out")
    assert server.ask("PUT", f"/ac/{ACTION}", body).status == 200
    answer = server.ask("GET", f"/ac/{ACTION}")
    assert (answer.status, answer.body) == (200, body)
    assert server.ask("HEAD", f"/ac/{ACTION}").headers["content-length"] == str(len(body))


def test_instances_have_results_of_their_own(server: Asked) -> None:
    """An action's result under one instance is not seen under another; its contents are."""
    assert (
        server.ask("PUT", f"/a/ac/{ACTION}", wire.ActionResult(exit_code=1).SerializeToString()).status == 200
    )
    assert server.ask("GET", f"/a/ac/{ACTION}").status == 200
    assert server.ask("GET", f"/ac/{ACTION}").status == 404
    assert server.ask("GET", f"/b/ac/{ACTION}").status == 404


def directory(*files: bytes, below: tuple[wire.Directory, ...] = ()) -> wire.Directory:
    return wire.Directory(
        files=[wire.FileNode(name=f"f{n}", digest=named(content)) for n, content in enumerate(files)],
        directories=[
            wire.DirectoryNode(name=f"d{n}", digest=named(each.SerializeToString()))
            for n, each in enumerate(below)
        ],
    )


_TREE = wire.Tree(root=directory(b"one"), children=[directory(b"two", b"three")])
_LEAF = directory(b"deep")
_ROOT = directory(b"one", below=(_LEAF,))
_RESULTS = {
    "file": (wire.ActionResult(output_files=[file(b"a", "a"), file(b"b", "b")]), [b"a", b"b"]),
    "texts": (wire.ActionResult(stdout_digest=named(b"so"), stderr_digest=named(b"se")), [b"so", b"se"]),
    "tree": (
        wire.ActionResult(
            output_directories=[wire.OutputDirectory(tree_digest=named(_TREE.SerializeToString()))]
        ),
        [_TREE.SerializeToString(), b"one", b"two", b"three"],
    ),
    "root": (
        wire.ActionResult(
            output_directories=[wire.OutputDirectory(root_directory_digest=named(_ROOT.SerializeToString()))]
        ),
        [_ROOT.SerializeToString(), _LEAF.SerializeToString(), b"one", b"deep"],
    ),
    "many": (
        wire.ActionResult(output_files=[file(b"%d" % n) for n in range(40)]),
        [b"%d" % n for n in range(40)],
    ),
}


@pytest.mark.parametrize("kind", _RESULTS)
def test_a_result_is_served_only_if_all_is_there(server: Asked, kind: str) -> None:
    """Whichever of its contents is missing, it is a miss; with the last one it is a hit."""
    result, contents = _RESULTS[kind]
    assert server.ask("PUT", f"/ac/{ACTION}", result.SerializeToString()).status == 200
    for content in contents:
        put(server, content)
    assert server.ask("GET", f"/ac/{ACTION}").status == 200
    for content in contents if kind != "many" else contents[-1:]:
        assert server.vault.delete("", "cas", sha(content))
        assert server.ask("GET", f"/ac/{ACTION}").status == 404
        put(server, content)
    assert server.ask("GET", f"/ac/{ACTION}").status == 200


@pytest.mark.parametrize("kind", ["tree", "root"])
def test_a_tree_that_is_none_is_missing(server: Asked, kind: str) -> None:
    """A content under a tree's digest that does not decode makes the result a miss."""
    noise = b"\xff\xff noise"
    put(server, noise)
    output = (
        wire.OutputDirectory(tree_digest=named(noise))
        if kind == "tree"
        else wire.OutputDirectory(root_directory_digest=named(noise))
    )
    result = wire.ActionResult(output_directories=[output]).SerializeToString()
    assert server.ask("PUT", f"/ac/{ACTION}", result).status == 200
    assert server.ask("GET", f"/ac/{ACTION}").status == 404


def test_a_size_that_is_not_the_contents_is_missing(server: Asked) -> None:
    """A result that names a content with another length would be refused by its reader."""
    put(server, b"out")
    wrong = wire.OutputFile(path="out", digest=wire.Digest(hash=sha(b"out"), size_bytes=4))
    server.ask("PUT", f"/ac/{ACTION}", wire.ActionResult(output_files=[wrong]).SerializeToString())
    assert server.ask("GET", f"/ac/{ACTION}").status == 404


def test_what_refers_to_no_bytes_is_whole(server: Asked) -> None:
    """An empty output file needs no content."""
    result = wire.ActionResult(output_files=[file(b"")]).SerializeToString()
    server.ask("PUT", f"/ac/{ACTION}", result)
    assert server.ask("GET", f"/ac/{ACTION}").status == 200


def test_a_served_result_leases_what_it_refers_to(server: Asked) -> None:
    """Each content counts as used just then."""
    contents = [b"a" * 9, b"b" * 10_000, b"c" * 300_000]
    for content in contents:
        put(server, content)
    result = wire.ActionResult(output_files=[file(content) for content in contents])
    server.ask("PUT", f"/ac/{ACTION}", result.SerializeToString())
    before_ns = max(server.store.survey().used_ns)  # type: ignore[attr-defined]
    server.ask("GET", f"/ac/{ACTION}")
    used_ns = server.store.survey().used_ns  # type: ignore[attr-defined]
    assert min(used_ns) > before_ns


def test_what_an_action_cost_is_what_a_hit_saves(server: Asked) -> None:
    """By its virtual duration, or from start to end; nonsense counts for nothing."""
    said = wire.ExecutedActionMetadata()
    said.execution_start_timestamp.seconds = 10
    said.execution_completed_timestamp.seconds = 12
    for expected_ns in (2_000_000_000, 500):
        body = wire.ActionResult(execution_metadata=said).SerializeToString()
        server.ask("PUT", f"/ac/{ACTION}", body)
        found = server.vault.get("", "ac", ACTION)
        assert found is not None
        assert found.record.entry().cost_ns == expected_ns
        said.virtual_execution_duration.nanos = 500
    said.virtual_execution_duration.seconds = -5
    server.ask("PUT", f"/ac/{ACTION}", wire.ActionResult(execution_metadata=said).SerializeToString())
    found = server.vault.get("", "ac", ACTION)
    assert found is not None
    assert found.record.entry().cost_ns == 0


def test_ccache_keeps_its_own_values_here(server: Asked) -> None:
    """With `layout=bazel` a value is no action result: it goes out as it came."""
    value = b"\xcc\xac\x01" + body_of(6 << 20)
    assert server.ask("PUT", f"/ac/{ACTION}", value).status == 200
    assert server.ask("GET", f"/ac/{ACTION}").body == value
    small = b"\xcc\xac\x01 small"
    assert server.ask("PUT", f"/ac/{ACTION}", small).status == 200
    assert server.ask("GET", f"/ac/{ACTION}").body == small


# -- moon's JSON ---------------------------------------------------------------------------

_MOON = {
    "outputFiles": [
        {
            "path": "out.txt",
            "digest": {"hash": sha(b"out"), "sizeBytes": "3"},
            "isExecutable": False,
            "nodeProperties": {"mtime": "2026-01-02T03:04:05.123456789+00:00", "unixMode": 33188},
        }
    ],
    "exitCode": 0,
    "stderrDigest": None,
    "somethingNew": {"a": 1},
}


def test_json_is_kept_as_it_came(server: Asked) -> None:
    """With its content type, to whoever asks for JSON; it is a result like any other."""
    body = json.dumps(_MOON).encode()
    headers = {"content-type": "application/json"}
    assert server.ask("PUT", f"/m/ac/{ACTION}", body, headers=headers).status == 200
    wanted = {"accept": "application/json"}
    assert server.ask("GET", f"/m/ac/{ACTION}", headers=wanted).status == 404
    put(server, b"out")
    answer = server.ask("GET", f"/m/ac/{ACTION}", headers=wanted)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-type"] == "application/json"


def test_each_form_is_given_in_the_other(server: Asked) -> None:
    """To who asks for protobuf what came as JSON, and the other way."""
    put(server, b"out")
    headers = {"content-type": "application/json; charset=utf-8"}
    server.ask("PUT", f"/ac/{ACTION}", json.dumps(_MOON).encode(), headers=headers)
    answer = server.ask("GET", f"/ac/{ACTION}")
    result = wire.ActionResult.FromString(answer.body)
    assert result.output_files[0].digest == named(b"out")
    assert result.output_files[0].node_properties.unix_mode.value == 33188
    assert result.output_files[0].node_properties.mtime.nanos == 123456789
    server.ask("PUT", f"/ac/{ACTION}", answer.body)
    answer = server.ask("GET", f"/ac/{ACTION}", headers={"accept": "application/json"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == to_json(result)
    assert json.loads(answer.body)["outputFiles"][0]["digest"]["sizeBytes"] == "3"


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"outputFiles": 3}', b"\xff\xfe", b"[" * 100_000])
def test_json_that_is_no_result_is_refused(server: Asked, body: bytes) -> None:
    """What says it is JSON has to be a result."""
    headers = {"content-type": "application/json"}
    assert server.ask("PUT", f"/ac/{ACTION}", body, headers=headers).status == 400
    assert server.ask("GET", f"/ac/{ACTION}").status == 404


# -- the rest ------------------------------------------------------------------------------


def test_the_status_is_json_for_everybody(server: Asked) -> None:
    """moon asks for it before anything else."""
    answer = server.ask("GET", "/status")
    assert answer.status == 200
    assert json.loads(answer.body)["Server"].startswith("vcache/")
    assert not Bazel().needs_token("GET", "/status")
    assert Bazel().needs_token("GET", f"/cas/{ACTION}")


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", [f"/cas/{ACTION}", f"/ac/{ACTION}", "/status"])
def test_other_methods_are_refused(server: Asked, method: str, path: str) -> None:
    """There is no DELETE."""
    assert server.ask(method, path).status == 405


@pytest.mark.parametrize(
    "path",
    [
        "/", f"/cas/{ACTION[1:]}", f"/cas/{ACTION.upper()}", f"/cas/{ACTION}/x", f"/xcas/{ACTION}", "/status/",
        f"/{'i' * 257}/cas/{ACTION}", f"/cas/{ACTION}\n",
    ],
)  # fmt: skip
def test_other_paths_are_not_claimed(path: str) -> None:
    """64 lower-case hexadecimal digits behind `ac` or `cas`, and nothing behind them."""
    assert not Bazel().claims(path)


def test_rights(server: Asked) -> None:
    """A reader puts nothing; a writer that is no builder fills the contents only."""
    result = wire.ActionResult().SerializeToString()
    server.caller = Caller("t", Role.READER, "ns", may_write_results=False)
    assert server.ask("PUT", f"/cas/{sha(b'x')}", b"x").status == 403
    assert server.ask("PUT", f"/ac/{ACTION}", result).status == 403
    server.caller = Caller("t", Role.WRITER, "ns", may_write_results=False)
    assert server.ask("PUT", f"/cas/{sha(b'x')}", b"x").status == 200
    assert server.ask("PUT", f"/ac/{ACTION}", result).status == 403
    server.caller = Caller("t", Role.BUILDER, "ns")
    assert server.ask("PUT", f"/ac/{ACTION}", result).status == 200
    server.caller = Caller("t", Role.BUILDER, "other")
    assert server.ask("GET", f"/ac/{ACTION}").status == 404
    assert server.ask("GET", f"/cas/{sha(b'x')}").status == 404


def test_no_room_is_said(server: Asked) -> None:
    """507 where nothing more is taken; what is there is still served."""
    put(server, b"x")

    def admit(caller: Caller, length: int | None) -> None:
        raise Refused(Refusal.FULL, "the quota is used up")

    server.admit = admit
    assert server.ask("PUT", f"/cas/{sha(b'y')}", b"y").status == 507
    assert server.ask("PUT", f"/cas/{sha(b'x')}", b"x").status == 200
    assert server.ask("GET", f"/cas/{sha(b'x')}").status == 200


def test_a_store_that_fails_is_a_miss() -> None:
    """To who reads; who writes is told."""
    broken = Refused(Refusal.BROKEN, "no disk")
    assert Bazel().phrase(broken, method="GET", path=f"/cas/{ACTION}")[0] == 404
    assert Bazel().phrase(broken, method="PUT", path=f"/cas/{ACTION}")[0] == 500
