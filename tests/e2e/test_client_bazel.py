"""The real Bazel (Debian's 4.2.3) over the real server, by HTTP and by gRPC."""

from __future__ import annotations

import re
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.served import FULL, WRONG_TOKEN, Asked, asked, clean_environ, killed, new_token
from tests.servers import VcacheServer, needed, vcache_serve, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ACTIONS = 5
PROTOCOLS = ("http", "grpc")
_DIALECTS = {"http": "bazel", "grpc": "reapi"}
_HITS = re.compile(r"(\d+) remote cache hit")

_RULE = """\
def _tree(ctx):
    out = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        outputs = [out],
        inputs = [ctx.file.src],
        command = "mkdir -p $1/sub && cp $2 $1/one && cp $2 $1/sub/two && : > $1/sub/empty",
        arguments = [out.path, ctx.file.src.path],
        mnemonic = "Tree",
    )
    return [DefaultInfo(files = depset([out]))]

tree = rule(implementation = _tree, attrs = {"src": attr.label(allow_single_file = True)})
"""
_BUILD = """\
load(":tree.bzl", "tree")
[genrule(
    name = "object%d" % n,
    srcs = ["unit.c"],
    outs = ["unit%d.o" % n],
    cmd = "gcc -O1 -DN=%d -c $< -o $@ && echo object %d was made" % (n, n),
) for n in range(2)]
genrule(
    name = "program",
    srcs = ["main.c", ":object0"],
    outs = ["program.bin"],
    cmd = "gcc $(location main.c) $(location :object0) -o $@",
)
genrule(name = "large", outs = ["large.bin"], cmd = "head -c 3000000 /dev/zero | tr '\\\\0' x > $@")
tree(name = "tree", src = "unit.c")
"""


@dataclass
class Workspace:
    """A workspace, built each time in an output base with nothing in it."""

    root: Path
    runs: int = 0

    def __post_init__(self) -> None:
        place = self.place = self.root / "workspace"
        place.mkdir()
        (place / "WORKSPACE").touch()
        (place / "tree.bzl").write_text(_RULE)
        (place / "BUILD").write_text(_BUILD)
        (place / "unit.c").write_text("int unit(void) { return N + 40; }\n")
        (place / "main.c").write_text("int unit(void);\nint main(void) { return unit(); }\n")

    def build(
        self, server: VcacheServer, protocol: str, *options: str, token: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Build all in a new output base: how it ended."""
        self.runs += 1
        home = self.root / f"home{self.runs}"
        address = f"{server.url}/main" if protocol == "http" else f"grpc://{server.grpc}"
        command: list[str | Path] = [
            needed("bazel", "bazel-bootstrap"), "--batch", f"--output_user_root={home / 'bazel'}",
            "--host_jvm_args=-XX:TieredStopAtLevel=1", "--host_jvm_args=-XX:+UseSerialGC", "build",
            f"--remote_cache={address}", "--symlink_prefix=/", "--color=no", "--curses=no", "--jobs=4",
            "--remote_retries=1", "--remote_timeout=10", *options,
        ]  # fmt: skip
        if protocol == "grpc":
            command.append("--remote_instance_name=main")
        if token:
            command.append(f"--remote_header=Authorization=Bearer {token}")
        return subprocess.run(
            [*command, "//..."], cwd=self.place, env=clean_environ(home), capture_output=True, text=True,
            timeout=200, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def outputs(self) -> dict[str, bytes]:
        """What the last build made."""
        (base,) = (self.root / f"home{self.runs}" / "bazel").glob("*/execroot/__main__/bazel-out/*/bin")
        return {
            str(path.relative_to(base)): path.read_bytes()
            for path in sorted(base.rglob("*"))
            if path.is_file() and not path.name.endswith((".params", ".sh"))
        }


def hits(done: subprocess.CompletedProcess[str]) -> int:
    """How many actions Bazel says it had from the cache, in a build that succeeded."""
    assert done.returncode == 0, done.stderr
    found = _HITS.search(done.stderr)
    return int(found[1]) if found else 0


def counted(server: VcacheServer, protocol: str, admin: str = "") -> Asked:
    return asked(server, _DIALECTS[protocol], admin)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_second_output_base_runs_nothing(tmp_path: Path, workspace: Workspace, protocol: str) -> None:
    """What one build stored another finds: files, a tree, what was said. Both sides count so."""
    with vcache_serve(tmp_path / "cache", grpc=True) as server:
        assert hits(workspace.build(server, protocol)) == 0
        first = counted(server, protocol)
        assert (first["hit"], first["miss"]) == (0, ACTIONS)
        assert first["put"] >= 2 * ACTIONS
        made = workspace.outputs()
        assert set(made) == {
            "unit0.o", "unit1.o", "program.bin", "large.bin", "tree/one", "tree/sub/two", "tree/sub/empty",
        }  # fmt: skip

        again = workspace.build(server, protocol)
        assert hits(again) == ACTIONS
        assert "object 1 was made" in again.stdout + again.stderr
        second = counted(server, protocol)
        assert (second["miss"], second["put"]) == (first["miss"], first["put"])
        assert second["hit"] >= 2 * ACTIONS
        assert workspace.outputs() == made

        (workspace.place / "unit.c").write_text("int unit(void) { return N + 41; }\n")
        assert hits(workspace.build(server, protocol)) == 1
        assert counted(server, protocol)["miss"] == ACTIONS + 4


def test_both_protocols_share_contents_and_results(tmp_path: Path, workspace: Workspace) -> None:
    """What was stored over HTTP below `/main` is there over gRPC in the instance `main`."""
    with vcache_serve(tmp_path / "cache", grpc=True) as server:
        assert hits(workspace.build(server, "http")) == 0
        assert hits(workspace.build(server, "grpc", "--remote_download_minimal")) == ACTIONS
        assert counted(server, "grpc")["put"] == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wrong_token_leaves_the_build_alone(tmp_path: Path, workspace: Workspace, protocol: str) -> None:
    """Everything is made here, with a warning, and nothing is stored."""
    directory = tmp_path / "cache"
    admin = new_token(directory, "team", "admin")["token"]
    with vcache_serve(directory, "--tokens", directory / "server" / "tokens.json", grpc=True) as server:
        done = workspace.build(server, protocol, token=WRONG_TOKEN)
        assert hits(done) == 0
        assert "WARNING" in done.stderr
        assert set(counted(server, protocol, admin)) <= {"401", "other"}
        assert counted(server, protocol, admin)["401"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_roles(tmp_path: Path, workspace: Workspace, protocol: str) -> None:
    """What a writer stored a reader of its namespace finds; another namespace has nothing of it."""
    directory = tmp_path / "cache"
    writer = new_token(directory, "team", "writer")["token"]
    reader = new_token(directory, "team", "reader")["token"]
    other = new_token(directory, "other", "reader")["token"]
    with vcache_serve(directory, "--tokens", directory / "server" / "tokens.json", grpc=True) as server:
        assert hits(workspace.build(server, protocol, token=writer)) == 0
        assert hits(workspace.build(server, protocol, token=reader)) == ACTIONS
        assert hits(workspace.build(server, protocol, token=other)) == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_full_store_leaves_the_build_alone(tmp_path: Path, workspace: Workspace, protocol: str) -> None:
    """Nothing is taken, Bazel warns, all is made here."""
    with vcache_serve(tmp_path / "cache", grpc=True, env=FULL) as server:
        done = workspace.build(server, protocol)
        assert hits(done) == 0
        assert "WARNING" in done.stderr
        found = counted(server, protocol)
        assert found["507"] >= 1 or protocol == "grpc"
        assert found["miss"] == ACTIONS


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_server_killed_within_a_build(tmp_path: Path, workspace: Workspace, protocol: str) -> None:
    """The build goes on without it."""
    begun, go_on = tmp_path / "begun", tmp_path / "go on"
    (workspace.place / "BUILD").write_text(
        f"""\
genrule(name = "waits", outs = ["a"], cmd = "touch '{begun}'; until [ -e '{go_on}' ]; do sleep 0.05; done; echo a > $@")
genrule(name = "follows", srcs = [":waits"], outs = ["b"], cmd = "cat $< > $@")
"""
    )
    with vcache_serve(tmp_path / "cache", grpc=True) as server:

        def end() -> None:
            wait_until(begun.exists, "the first action runs")
            killed(server)
            go_on.touch()

        thread = threading.Thread(target=end)
        thread.start()
        done = workspace.build(server, protocol, "--spawn_strategy=local")
        thread.join()
        assert done.returncode == 0, done.stderr
        assert "WARNING" in done.stderr
        assert workspace.outputs() == {"a": b"a\n", "b": b"a\n"}


def test_a_server_that_is_not_there(tmp_path: Path, workspace: Workspace) -> None:
    """Over HTTP Bazel builds without it; over gRPC it refuses to begin: that is Bazel's word."""
    with vcache_serve(tmp_path / "cache", grpc=True) as server:
        killed(server)
        assert hits(workspace.build(server, "http")) == 0
        done = workspace.build(server, "grpc")
        assert done.returncode != 0
        assert "Failed to query remote execution capabilities" in done.stderr
