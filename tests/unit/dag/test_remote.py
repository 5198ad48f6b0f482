"""What a worker carries out, without a cluster: a project here, its trees elsewhere, a cache between."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from vcache.cache import Cache
from vcache.dag import mounts, remote, scratch
from vcache.dag.executor import Ended, Job
from vcache.dag.listing import listing_key
from vcache.dag.node import Command, Node
from vcache.dag.order import VERSION, expanded, pack
from vcache.dag.remote import carry_out, probe, stop
from vcache.dag.shipping import Parcel, Shipping
from vcache.hash import digest
from vcache.pieces import Output
from vcache.portable import portable_text


@pytest.fixture(autouse=True)
def _worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker process of its own, as it were."""
    found = remote._Worker(lambda: os.path.realpath(tmp_path / "trees"))
    monkeypatch.setattr(remote, "_worker", lambda: found)
    yield
    found.close()


@pytest.fixture(params=["at home", "elsewhere"])
def is_home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether commands see the tree at the project's own path."""
    if request.param == "elsewhere":
        monkeypatch.setattr(scratch, "seen_at", lambda *_: None)
    return bool(request.param == "at home")


@dataclass
class Project:
    root: Path
    shipping: Shipping

    def job(
        self, *argv: str, outs: tuple[str, ...] = ("out",), reads: tuple[str, ...] = (), **more: object
    ) -> Job:
        full = [tuple(os.fspath(self.root / name) for name in names) for names in (reads, outs)]
        command = Command(argv=argv, **more)  # type: ignore[arg-type]
        node = Node(name=outs[0], outs=outs, ins=reads)
        return Job(node=node, command=command, base=os.fspath(self.root), reads=full[0], makes=full[1])

    def sh(self, line: str, **more: object) -> Job:
        return replace(self.job(**more), command=Command(shell=line))  # type: ignore[arg-type]

    def sent(self, job: Job, name: str = "1") -> Parcel:
        parcel = self.shipping.pack(job, name)
        assert isinstance(parcel, Parcel), parcel
        return parcel

    def run(self, job: Job) -> Ended | str:
        parcel = self.sent(job)
        return self.shipping.take_in(parcel, carry_out(parcel.packed))

    def runs(self, job: Job) -> Ended:
        ended = self.run(job)
        assert isinstance(ended, Ended), ended
        return ended


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    root = tmp_path / "project"
    root.mkdir()
    address = f"disk:{tmp_path}/shared"
    with Cache(address, root=root) as cache:
        yield Project(root, Shipping(cache, address=address, project="p", environ=dict(os.environ)))


def test_a_command_gets_what_it_reads_and_brings_what_it_makes(project: Project, is_home: bool):
    """Declared inputs go there, outputs come back with their modes, and words with their streams."""
    (project.root / "in").write_text("text\n")
    (project.root / "undeclared").write_text("more\n")
    line = "cat in undeclared > dir/out; chmod 755 dir/out; ln -s out dir/link; echo said; echo too >&2"
    ended = project.runs(project.sh(line, outs=("dir/out", "dir/link"), reads=("in",)))
    assert ended.status == 0
    assert [chunk[::2] for chunk in ended.chunks] == [(1, b"said\n"), (2, b"too\n")]
    out = project.root / "dir/out"
    assert out.read_text() == "text\nmore\n"
    assert out.stat().st_mode & 0o777 == 0o755
    assert os.readlink(project.root / "dir/link") == "out"


def test_a_directory_comes_back_whole(project: Project, is_home: bool):
    """An output that is a directory holds what the command put into it, and nothing else."""
    (project.root / "out").mkdir()
    (project.root / "out/old").write_text("old")
    project.runs(project.sh("mkdir -p out/a/b; echo x > out/a/x", outs=("out/",)))
    assert sorted(map(str, (path.relative_to(project.root) for path in project.root.rglob("*")))) == [
        "out", "out/a", "out/a/b", "out/a/x",
    ]  # fmt: skip


def test_words_and_rules_name_the_clients_paths(project: Project, is_home: bool):
    """What a command says of its files, and its depfile, are as if it had run here."""
    root = project.root
    (root / "a b.h").write_text("h")
    (root / "in").write_text("i")
    line = f"echo {root}/in is read; echo 'out: {root}/in {root}/a\\ b.h' > out.d; : > out"
    job = project.sh(line, reads=("in",))
    ended = project.runs(replace(job, command=replace(job.command, depfile="out.d")))
    assert ended.chunks[0][2] == f"{root}/in is read\n".encode()
    assert (root / "out.d").read_text() == f"out: {root}/in {root}/a\\ b.h\n"


def test_a_result_that_names_its_tree_is_none(project: Project, monkeypatch: pytest.MonkeyPatch):
    """Where a tree cannot be seen at the project's path, an output that holds its path runs here."""
    assert isinstance(project.run(project.sh("pwd > out")), Ended)
    assert (project.root / "out").read_text() == f"{project.root}\n"
    monkeypatch.setattr(scratch, "seen_at", lambda *_: None)
    remote._worker().trees = scratch.Trees(lambda: os.fspath(project.root.parent / "others"))
    assert project.run(project.sh("pwd > out")) == "out names the directory it was made in"


def test_a_project_is_seen_where_the_worker_has_nothing(tmp_path: Path):
    """The path of the project need not exist on the worker, and does not exist afterwards."""
    tree, root = tmp_path / "tree", tmp_path / "no/such/place"
    tree.mkdir()
    (tmp_path / "file").write_text("beside\n")
    before = mounts.seen_at(os.fspath(tree), os.fspath(root), "")
    assert before is not None
    assert (
        os.spawnv(os.P_WAIT, before[0], (*before, "/bin/sh", "-c", "pwd > here; cat ../../../file >> here"))
        == 0
    )
    assert (tree / "here").read_text() == f"{root}\nbeside\n"
    assert not (tmp_path / "no").exists()


def test_a_tree_keeps_nothing_of_the_command_before(project: Project, is_home: bool):
    """What an earlier command left or changed in the tree is not seen by the next one."""
    (project.root / "in").write_text("in\n")
    (project.root / "sub").mkdir()
    (project.root / "sub/kept").write_text("kept\n")
    line = "echo worse > in; mkdir -p junk; echo > junk/deep; rm sub/kept; : > out"
    project.runs(project.sh(line, reads=("in",)))
    project.runs(project.sh("cat in sub/kept > all; ls >> all", outs=("all",), reads=("in",)))
    assert (project.root / "all").read_text() == "in\nkept\nall\nin\nsub\n"


def test_what_others_make_is_brought_along(project: Project, is_home: bool):
    """A file that appears, changes or goes during a run does so for undeclared readers as well."""
    root = project.root
    for name in ("gen.h", "old.h"):
        (root / name).write_text("1\n")
    project.runs(project.sh("cat *.h > out"))
    assert (root / "out").read_text() == "1\n1\n"
    (root / "gen.h").write_text("2\n")
    (root / "new.h").write_text("3\n")
    (root / "old.h").unlink()
    project.shipping.touch(os.fspath(root / name) for name in ("gen.h", "new.h", "old.h"))
    project.runs(project.sh("cat *.h > out"))
    assert (root / "out").read_text() == "2\n3\n"


def test_a_result_of_other_headers_is_none(project: Project, is_home: bool):
    """A header that changed here after the worker read it makes the result one of the past."""
    (project.root / "a.h").write_text("1")
    job = project.sh("echo 'out: a.h' > out.d; cp a.h out")
    parcel = project.sent(replace(job, command=replace(job.command, depfile="out.d")))
    reply = carry_out(parcel.packed)
    (project.root / "a.h").write_text("2")
    assert project.shipping.take_in(parcel, reply) == "a.h is not what it is here"
    assert not (project.root / "out").exists()
    # Nobody said that it changed; from here on it is known.
    project.runs(project.sh("cp a.h out"))
    assert (project.root / "out").read_text() == "2"


def test_a_generator_makes_what_nobody_knows(project: Project, is_home: bool):
    """Once told to, files are looked for that nobody named."""
    project.runs(project.sh(": > out"))
    (project.root / "config.h").write_text("configured\n")
    project.shipping.forget()
    project.runs(project.sh("cat config.h > out"))
    assert (project.root / "out").read_text() == "configured\n"


def test_another_tool_is_refused(project: Project, tmp_path: Path):
    """A worker whose program differs from the client's does not run it."""
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n: > out\n")
    tool.chmod(0o755)
    parcel = project.sent(project.job(os.fspath(tool)))
    tool.write_text("#!/bin/sh\n: > out # otherwise\n")
    answer = project.shipping.take_in(parcel, carry_out(parcel.packed))
    assert isinstance(answer, str)
    assert answer.endswith(f"has another {tool}")


def test_a_program_of_the_project_is_brought_along(project: Project, is_home: bool):
    """A command may run what the build made, in a place that workers are not told of otherwise."""
    (project.root / "bin").mkdir()
    (project.root / "bin/tool").write_bytes(Path("/bin/echo").read_bytes())
    (project.root / "bin/tool").chmod(0o755)
    ended = project.runs(project.job("bin/tool", "hello"))
    assert (ended.status, ended.chunks[0][2]) == (0, b"hello\n")


def test_only_what_is_declared_is_lost_to_nobody(project: Project, is_home: bool):
    """A command that writes beside its outputs runs here, where all that it writes stays."""
    assert project.run(project.sh(": > out; : > out.extra")) == "it made out.extra, which it does not declare"


@pytest.mark.parametrize(
    ("line", "is_own"),
    [
        ("echo 'a.c:1: error: no' >&2; exit 1", True),
        ("exit 3", True),
        ("cat nothing", False),
        ("no-such-program", False),
        ("kill -9 $$", False),
    ],
)
def test_a_failure_that_another_machine_may_cause_is_doubted(project: Project, line: str, is_own: bool):
    """A command's own opinion counts; one that lacks something may find it here."""
    assert isinstance(project.run(project.sh(line)), Ended) == is_own


def test_a_response_file_is_written_there(project: Project, is_home: bool):
    """Its content names the tree's own paths, and the file itself is no output."""
    (project.root / "in").write_text("text\n")
    job = project.sh("cat $(cat rsp) > out", reads=("in",))
    command = replace(job.command, rspfile="rsp", rsp_content=f"{project.root}/in")
    project.runs(replace(job, command=command))
    assert (project.root / "out").read_text() == "text\n"
    assert not (project.root / "rsp").exists()


def test_variables_that_count_travel_and_others_do_not(project: Project, monkeypatch: pytest.MonkeyPatch):
    """A worker's own variables stay, except for those that the client's build heeds."""
    monkeypatch.setenv("OWN", "worker's")
    monkeypatch.setenv("HEEDED", "worker's")
    monkeypatch.setenv("CPATH", "/nowhere")
    job = project.sh('echo "$OWN ${HEEDED-none} ${CPATH-none} $SET" > out')
    command = replace(job.command, heeds=("HEEDED",), env={"SET": f"{project.root}/x"})
    project.runs(replace(job, command=command))
    words = (project.root / "out").read_text()
    assert words == f"worker's none none {project.root}/x\n"


def test_damage_in_the_shared_cache_is_noticed(project: Project, monkeypatch: pytest.MonkeyPatch):
    """Content that is not what its name says is never run on."""
    (project.root / "in").write_text("good")
    parcel = project.sent(project.sh("cp in out", reads=("in",)))
    monkeypatch.setattr(
        scratch, "put_in_place", lambda shelf, outputs, *, restorer: _forged(shelf.root, outputs)
    )
    answer = carry_out(parcel.packed)
    assert "its content is not what its name says" in str(answer["declined"])


def _forged(root: Path, outputs: list[Output]) -> tuple[str, ...]:
    for output in outputs:
        (root / output.name).write_text("evil")
    return ()


def test_a_name_outside_the_tree_is_refused(project: Project, tmp_path: Path):
    """Neither an order nor a reply writes outside of the root."""
    parcel = project.sent(project.sh(": > out"))
    row = ("../evil", 0o644, digest(b"").hex())
    answer = carry_out(pack(replace(parcel.order, rows=(row,))))
    assert "declined" in answer
    reply = carry_out(parcel.packed)
    for made, files in (
        (["../evil"], [["../evil", 0o644, digest(b"")]]),
        (["out"], [["other", 0o644, digest(b"")]]),
    ):
        assert isinstance(project.shipping.take_in(parcel, {**reply, "made": made, "files": files}), str)
    assert not (tmp_path / "evil").exists()
    assert not (project.root / "other").exists()


def test_what_is_outside_of_the_project_stays_here(project: Project, tmp_path: Path):
    """An output or a directory elsewhere cannot be named to a worker."""
    job = project.sh(": > out")
    outside = replace(job, makes=(os.fspath(tmp_path / "out"),))
    assert project.shipping.pack(outside, "1") == "it works outside of the project"
    away = replace(job, command=replace(job.command, cwd="/"))
    assert project.shipping.pack(away, "1") == "it works outside of the project"


def test_a_command_is_stopped(project: Project, tmp_path: Path):
    """`stop` ends what runs, and what is about to."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    parcel = project.sent(project.sh(f"echo > {fifo}; sleep 100"), "long")
    replies: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: replies.append(carry_out(parcel.packed)))
    thread.start()
    fifo.read_text()  # it runs
    stop(["long", "later"])
    thread.join(20)
    later = project.sent(project.sh(": > out"), "later")
    assert [reply.get("is_killed") for reply in (*replies, carry_out(later.packed))] == [True, True]


def test_a_time_limit_holds_there(project: Project):
    """A command that takes too long ends with 124, and is not tried again here."""
    job = project.sh("sleep 60")
    ended = project.runs(replace(job, command=replace(job.command, timeout_s=0.2)))
    assert ended.status == 124
    assert b"its time limit" in ended.chunks[-1][2]


def test_a_worker_says_whether_it_can_take_part(project: Project, tmp_path: Path):
    """It opens the shared cache, sees there what the client sees, and speaks its version."""
    with Cache(f"disk:{tmp_path}/shared", root=project.root) as cache:
        cache.put_key(listing_key(b"x"), b"")
    key = listing_key(b"x").hex()
    assert probe(f"disk:{tmp_path}/shared", key, VERSION) == ""
    assert "it is another one" in probe(f"disk:{tmp_path}/other", key, VERSION)
    assert "cannot open it" in probe("nix:there", key, VERSION)
    assert "install the same vcache" in probe(f"disk:{tmp_path}/shared", key, VERSION + 1)


def test_a_cache_that_was_made_anew_is_opened_anew(tmp_path: Path):
    """A worker that knew a directory before it was removed sees what is put there afterwards."""
    place = tmp_path / "renewed"
    key = listing_key(b"x")
    for _ in range(2):
        shutil.rmtree(place, ignore_errors=True)
        with Cache(f"disk:{place}") as cache:
            cache.put_key(key, b"")
        assert probe(f"disk:{place}", key.hex(), VERSION) == ""


@pytest.mark.parametrize("text", ["/p/a /p", "-I/p/inc:/p", "@root@ /p", "/usr/p @root@@", "x"])
def test_portable_texts_come_back(text: str):
    """`expanded` undoes `portable_text`."""
    assert expanded(portable_text(text, "/p"), "/p") == text
