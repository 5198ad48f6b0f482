"""A trace read: every way to look at a file and to make one, by the names it has."""

from __future__ import annotations

import os
import queue
import sys
from pathlib import Path

import pytest

from vcache.dag.executor import Ended, Job
from vcache.dag.local import LocalExecutor
from vcache.dag.node import Command, Node
from vcache.dag.strace import Traced, read_trace, tidied, under_strace
from vcache.errors import UsageError
from vcache.fingerprint.depfile import parse_depfile


def read(*lines: str) -> Traced:
    return read_trace([f"{line}\n" for line in lines], "/w")


def one(call: str) -> Traced:
    return read(f"7 {call}")


@pytest.mark.parametrize(
    ("call", "opened"),
    [
        ('openat(AT_FDCWD</w>, "a.c", O_RDONLY|O_CLOEXEC) = 3</w/a.c>', [("file", "/w/a.c")]),
        ('openat(AT_FDCWD</w>, "a.c", O_RDONLY)   = -1 ENOENT (No such file or directory)', [("absent", "/w/a.c")]),
        ('openat(AT_FDCWD</w>, "a/b", O_RDONLY) = -1 ENOTDIR (Not a directory)', [("absent", "/w/a/b")]),
        ('openat(AT_FDCWD</w>, "a.c", O_RDONLY) = -1 EACCES (Permission denied)', []),
        ('openat(4</x>, "a.c", O_RDONLY) = 3</x/a.c>', [("file", "/x/a.c")]),
        ('openat(4</x>, "/y/a.c", O_RDONLY) = 3</y/a.c>', [("file", "/y/a.c")]),
        ('open("a.c", O_RDONLY) = 3</w/a.c>', [("file", "/w/a.c")]),
        ('openat2(AT_FDCWD</w>, "a", {flags=O_RDONLY, resolve=0}, 24) = 3</w/a>', [("file", "/w/a")]),
        ('openat(AT_FDCWD</w>, "a", O_RDWR) = 3</w/a>', [("file", "/w/a")]),
        ('openat(AT_FDCWD</w>, "a", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</w/a>', []),
        ('openat(AT_FDCWD</w>, "a", O_RDWR|O_CREAT|O_TRUNC, 0666) = 3</w/a>', []),
        ('openat(AT_FDCWD</w>, "a/b", O_WRONLY|O_CREAT, 0666) = -1 ENOENT (No such file or directory)', []),
        ('stat("a", {st_mode=S_IFREG|0644, st_size=1, ...}) = 0', [("file", "/w/a")]),
        ('newfstatat(AT_FDCWD</w>, "a", {st_mode=S_IFREG, ...}, 0) = 0', [("file", "/w/a")]),
        ('newfstatat(3</w/a>, "", {st_mode=S_IFREG, ...}, AT_EMPTY_PATH) = 0', []),
        ('newfstatat(AT_FDCWD</w>, "a", 0x7f, 0) = -1 ENOENT (No such file or directory)', [("absent", "/w/a")]),
        ('statx(AT_FDCWD</w>, "a", AT_STATX_SYNC_AS_STAT, STATX_ALL, {...}) = 0', [("file", "/w/a")]),
        ('access("/etc/ld.so.preload", R_OK)  = -1 ENOENT (No such file or directory)', [("absent", "/etc/ld.so.preload")]),
        ('faccessat2(AT_FDCWD</w>, "a", X_OK, AT_EACCESS) = 0', [("file", "/w/a")]),
        ('execve("/bin/sh", [...], 0x7ffd8326f350 /* 35 vars */) = 0', [("file", "/bin/sh")]),
        ('execve("/x/sh", [...], 0x7ffd8326f350 /* 35 vars */) = -1 ENOENT (No such file or directory)', [("absent", "/x/sh")]),
        ("getdents64(3</w/d>, 0x563949315260 /* 3 entries */, 32768) = 72", [("list", "/w/d")]),
        ('linkat(AT_FDCWD</w>, "a", AT_FDCWD</w>, "b", 0) = 0', [("file", "/w/a")]),
        ('openat(AT_FDCWD</w>, "we>ird \\303\\251\\n\\"\\\\", O_RDONLY) = 3</w/we\\76ird \\303\\251\\n"\\\\>', [("file", '/w/we>ird é\n"\\')]),
        ('openat(AT_FDCWD</w/\\303\\251>, "a) = 3", O_RDONLY) = 3</w/\\303\\251/a) = 3>', [("file", "/w/é/a) = 3")]),
        ('openat(AT_FDCWD</w>, "\\377", O_RDONLY) = 3</w/\\377>', [("file", "/w/\udcff")]),
        ('openat(AT_FDCWD</gone>(deleted), "/a", O_RDONLY) = 3</a>(deleted)', [("file", "/a")]),
    ],
)  # fmt: skip
def test_what_is_looked_at(call, opened):
    """Each call tells what it read, did not find, or listed; what it only asked to write is none of it"""
    traced = one(call)
    assert (list(traced.opened), traced.doubt) == (opened, "")


@pytest.mark.parametrize(
    ("call", "wrote"),
    [
        ('openat(AT_FDCWD</w>, "a", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</w/a>', ["/w/a"]),
        ('openat(AT_FDCWD</w>, "a", O_RDWR) = 3</w/a>', ["/w/a"]),
        ('creat("a", 0666) = 3</w/a>', ["/w/a"]),
        ('openat(AT_FDCWD</w>, "/t", O_RDWR|O_TMPFILE, 0600) = 3</t/#1>(deleted)', []),
        ('mkdir("d", 0777) = 0', ["/w/d"]),
        ('mkdir("d", 0777) = -1 EEXIST (File exists)', []),
        ('symlink("../target", "l") = 0', ["/w/l"]),
        ('symlinkat("../target", AT_FDCWD</w/x>, "l") = 0', ["/w/x/l"]),
        ('rename("a", "b") = 0', ["/w/b", "/w/a"]),
        ('renameat2(AT_FDCWD</w>, "a", 5</x>, "b", RENAME_NOREPLACE) = 0', ["/x/b", "/w/a"]),
        ('unlinkat(AT_FDCWD</w>, "a", 0) = 0', ["/w/a"]),
        ('unlink("a") = -1 ENOENT (No such file or directory)', []),
        ('rmdir("d") = 0', ["/w/d"]),
        ('truncate("a", 0) = 0', ["/w/a"]),
    ],
)
def test_what_is_changed(call, wrote):
    """Made, renamed and removed names are told, attempts are not"""
    traced = one(call)
    assert (list(traced.wrote), traced.doubt) == (wrote, "")


def test_its_own_files_are_no_inputs():
    """What a command made before it looked is not told, and temporary files leave no trace"""
    traced = read(
        '7 openat(AT_FDCWD</w>, "/tmp/cc1.s", O_RDWR|O_CREAT|O_EXCL, 0600) = 3</tmp/cc1.s>',
        '8 openat(AT_FDCWD</w>, "/tmp/cc1.s", O_RDONLY) = 3</tmp/cc1.s>',
        '7 unlink("/tmp/cc1.s") = 0',
    )
    assert (traced.opened, traced.wrote) == ((), ())


def test_opened_for_both():
    """What is opened to be read and written was read, unless it was made by that"""
    shared = 'openat(AT_FDCWD</w>, "db", O_RDWR|O_CREAT, 0600) = 3</w/db>'
    assert one(shared).opened == (("file", "/w/db"),)
    looked = '7 access("db", F_OK) = -1 ENOENT (No such file or directory)'
    assert read(looked, f"7 {shared}").opened == ()


def test_looked_for_then_made():
    """A name that was not there and then made is an output, not an absence that counts"""
    traced = read(
        '7 stat("out", 0x7f) = -1 ENOENT (No such file or directory)',
        '7 openat(AT_FDCWD</w>, "out", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 3</w/out>',
    )
    assert (traced.opened, traced.wrote) == ((), ("/w/out",))


def test_read_then_changed():
    """What was read before it was overwritten is an input, and is written"""
    traced = read(
        '7 openat(AT_FDCWD</w>, "a", O_RDONLY) = 3</w/a>',
        '7 openat(AT_FDCWD</w>, "a", O_WRONLY|O_TRUNC) = 3</w/a>',
    )
    assert (traced.opened, traced.wrote) == ((("file", "/w/a"),), ("/w/a",))


def test_a_directory_is_renamed_with_what_is_in_it():
    """Files that were made below a name are made below the new one"""
    traced = read(
        '7 mkdir("tmp", 0777) = 0',
        '7 openat(AT_FDCWD</w>, "tmp/f", O_WRONLY|O_CREAT, 0600) = 3</w/tmp/f>',
        '7 rename("tmp", "out") = 0',
        '7 openat(AT_FDCWD</w>, "out/f", O_RDONLY) = 3</w/out/f>',
        "7 getdents64(3</w/out>, 0x5 /* 3 entries */, 32768) = 72",
    )
    assert (traced.opened, traced.wrote) == ((), ("/w/out", "/w/out/f"))


def test_each_process_has_its_directory():
    """A relative name counts from where its process is: it went there, or was born there"""
    traced = read(
        '7 chdir("sub") = 0',
        "7 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 8",
        '7 chdir("..") = 0',
        '8 stat("in-sub", {...}) = 0',
        '7 stat("in-w", {...}) = 0',
        '8 chdir("/x") = -1 ENOENT (No such file or directory)',
        '8 stat("still-in-sub", {...}) = 0',
        "8 fchdir(3</y>) = 0",
        '8 stat("in-y", {...}) = 0',
    )
    names = [os.path.normpath(path) for _, path in traced.opened]
    assert names == ["/w/sub/in-sub", "/w/in-w", "/w/sub/still-in-sub", "/y/in-y"]


def test_a_child_is_heard_of_before_its_birth():
    """While its parent still forks it is where the parent is"""
    traced = read(
        '7 chdir("/x") = 0',
        "7 vfork( <unfinished ...>",
        '8 access("a", F_OK) = 0',
        '8 chdir("/y") = 0',
        "7 <... vfork resumed>) = 8",
        '8 access("b", F_OK) = 0',
    )
    assert traced.opened == (("file", "/x/a"), ("file", "/y/b"))


def test_a_number_is_used_again():
    """A new process under an old number is where its parent is"""
    traced = read(
        "7 fork() = 8",
        '8 chdir("/y") = 0',
        "8 +++ exited with 0 +++",
        "7 fork() = 8",
        '8 access("b", F_OK) = 0',
    )
    assert traced.opened == (("file", "/w/b"),)


def test_calls_that_interleave():
    """The halves of a call are put together, whatever others do in between"""
    traced = read(
        '7 openat(AT_FDCWD</w>, "a", O_RDONLY <unfinished ...>',
        "8 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---",
        '8 openat(AT_FDCWD</w>, "b", O_RDONLY <unfinished ...>',
        "7 <... openat resumed>) = 3</w/a>",
        "8 <... openat resumed>) = -1 ENOENT (No such file or directory)",
    )
    assert traced.opened == (("file", "/w/a"), ("absent", "/w/b"))


def test_a_thread_runs_a_program():
    """It takes its process's number, and the call is that process's"""
    traced = read(
        '8 execve("/bin/x", [...], 0x7 /* 3 vars */ <unfinished ...>',
        "7 +++ superseded by execve in pid 8 +++",
        "7 <... execve resumed>) = 0",
    )
    assert (traced.opened, traced.ran, traced.doubt) == ((("file", "/bin/x"),), ("/bin/x",), "")


def test_a_call_that_never_returned():
    """A process that was killed in the middle of one has seen nothing by it"""
    assert read('7 execve("/bin/x", [...] <unfinished ...>', "7 <... execve resumed>) = ?").opened == ()


@pytest.mark.parametrize(
    "line",
    ['7 openat(AT_FDCWD</w>, "aaaa"..., O_RDONLY) = 3', "strace: something", "7 openat(0x7f", "7 getdents64(3, 0x7f) = 3"],
)  # fmt: skip
def test_what_is_not_understood_is_said(line):
    """A line that cannot be read is a doubt, which keeps the result from being kept"""
    assert line in read(line).doubt


def test_names_are_tidied(tmp_path):
    """Outputs, directories and what the kernel makes up are no inputs; a parent of a link is its own"""
    (tmp_path / "real/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/sub")
    for name in ("real/a", "b", "out", "tree-ish"):
        (tmp_path / name).touch()
    base = str(tmp_path)
    opened = [
        ("file", f"{base}/link/../a"),
        ("file", f"{base}/./b"),
        ("file", f"/{base}/b"),
        ("file", f"{base}/out"),
        ("file", f"{base}/tree/inside"),
        ("absent", f"{base}/tree/none"),
        ("file", f"{base}/tree-ish"),
        ("file", f"{base}/real"),
        ("list", f"{base}/real/"),
        ("absent", f"{base}/no"),
        ("file", "/dev/null"),
        ("absent", "/proc/7"),
        ("list", "/sys"),
        ("file", f"{base}/__pycache__/a.cpython-311.pyc"),
        ("file", "/etc/ld.so.cache"),
        ("absent", "/system"),
    ]
    traced = tidied(
        Traced(tuple(opened), (f"{base}/x/../out", "/dev/null", f"{base}/__pycache__")),
        outs={f"{base}/out", f"{base}/tree/"},
    )
    assert traced.opened == (
        ("file", f"{base}/real/a"),
        ("file", f"{base}/b"),
        ("file", f"{base}/tree-ish"),
        ("list", f"{base}/real"),
        ("absent", f"{base}/no"),
        ("absent", "/system"),
    )
    assert traced.wrote == (f"{base}/out",)


def test_names_are_given_as_the_base_is(tmp_path):
    """Through a link to the project, files in it and beside it go by the user's names"""
    (tmp_path / "real/proj/build").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/proj/a.c").touch()
    real = os.path.realpath(tmp_path)
    traced = Traced((("file", f"{real}/real/proj/a.c"), ("absent", f"{real}/other")), (f"{real}/real/new",))
    tidy = tidied(traced, base=f"{tmp_path}/link/proj/build")
    assert tidy.opened == (("file", f"{tmp_path}/link/proj/a.c"), ("absent", f"{real}/other"))
    assert tidy.wrote == (f"{tmp_path}/link/new",)


def test_no_strace(monkeypatch, tmp_path):
    """Its absence is an error that says what to install"""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="install the package 'strace'"):
        under_strace(["true"], "trace")


# -- real programs -----------------------------------------------------------------------------


@pytest.fixture
def executor():
    made = LocalExecutor()
    yield made
    made.close()


def run(executor: LocalExecutor, base: Path, shell: str = "", outs=(), **options) -> Ended:
    command = Command(shell=shell, is_traced=True, **options)
    ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    job = Job(
        node=Node(name="n", work=command),
        command=command,
        base=str(base),
        makes=tuple(os.path.join(base, out) for out in outs),
    )
    executor.start(job, ends.put)
    return ends.get(timeout=30)


def below(ended: Ended, base: Path) -> set[tuple[str, str]]:
    assert ended.opened is not None
    assert ended.gap == ""
    return {(kind, os.path.relpath(path, base)) for kind, path in ended.opened if path.startswith(f"{base}/")}


def test_a_compile(executor, tmp_path):
    """Source, headers, headers that were not there where they were looked for first: all is seen"""
    for name in ("src", "first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "src/a.c").write_text('#include <stdio.h>\n#include "my.h"\nint main(void) { return X; }\n')
    (tmp_path / "second/my.h").write_text("#define X 0\n")
    shell = "gcc -O1 -Ifirst -Isecond -c src/a.c -o obj/a.o -MD -MF obj/a.d"
    ended = run(executor, tmp_path, shell, outs=["obj/a.o"], depfile="obj/a.d")
    assert (ended.status, ended.chunks) == (0, ())
    seen = below(ended, tmp_path)
    assert {
        ("file", "src/a.c"),
        ("file", "second/my.h"),
        ("absent", "src/my.h"),
        ("absent", "first/my.h"),
    } <= seen
    assert not {path for _, path in seen if path.startswith("obj")}
    assert set(ended.wrote) == {f"{tmp_path}/obj/a.o", f"{tmp_path}/obj/a.d"}
    assert ended.opened is not None
    assert any(path.endswith("/cc1") for _, path in ended.opened)
    named = {os.path.join(tmp_path, name) for name in parse_depfile((tmp_path / "obj/a.d").read_text())}
    assert len(named) > 10
    # One header may be named through "..": by what it is, then.
    assert set(map(os.path.realpath, named)) <= {os.path.realpath(path) for _, path in ended.opened}


def test_a_shell_script(executor, tmp_path):
    """Listing, testing, looking up through PATH, moving about, writing, all in children"""
    (tmp_path / "d").mkdir()
    for name in ("a", "b c", "d/e"):
        (tmp_path / name).write_text("x\n")
    shell = (
        "cd d; for f in ../*; do :; done; cat '../b c' > t; mv t ../out; test -e ../nothing; "
        "(cd ..; cat d/e a > tmp; rm tmp) & wait; ln -s e l"
    )
    ended = run(executor, tmp_path, shell, outs=["out"])
    assert ended.status == 0
    wanted = {("file", "b c"), ("file", "a"), ("file", "d/e"), ("absent", "nothing")}
    assert below(ended, tmp_path) == wanted
    assert ended.opened is not None
    assert ("list", str(tmp_path)) in ended.opened
    assert set(ended.wrote) == {f"{tmp_path}/out", f"{tmp_path}/d/l"}


def test_a_python_program(executor, tmp_path):
    """A module that is imported is an input, and so is the script's interpreter"""
    (tmp_path / "mod.py").write_text("X = 1\n")
    script = tmp_path / "tool"
    script.write_text(f"#!{sys.executable}\nimport mod\nopen('out', 'w').write(str(mod.X))\n")
    script.chmod(0o755)
    for _ in range(2):  # with and without bytecode of an earlier run
        ended = run(executor, tmp_path, argv=("./tool",), outs=["out"])
        assert ended.opened is not None
        assert ("file", os.path.normpath(sys.executable)) in ended.opened
        assert ended.wrote == (f"{tmp_path}/out",)
        assert (ended.status, ended.chunks) == (0, ())
        assert below(ended, tmp_path) == {("file", "tool"), ("file", "mod.py")}


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -9 $$", 137), ("no-such-program", 127)])
def test_the_status_is_the_commands(executor, tmp_path, script, status):
    """As without a trace"""
    assert run(executor, tmp_path, script).status == status


def test_what_is_not_there_is_said_as_ever(executor, tmp_path):
    """A missing program or directory does not turn into a message of strace's"""
    ended = run(executor, tmp_path, argv=("no-such-program",))
    assert (ended.status, ended.opened) == (127, None)
    assert b"no such program on PATH" in ended.chunks[0][2]
    ended = run(executor, tmp_path, "true", cwd="nowhere")
    assert ended.status == 127
    assert b"working directory" in ended.chunks[0][2]


def test_a_traced_command_is_stopped(executor, tmp_path):
    """A time limit ends the command, and strace with it"""
    ended = run(executor, tmp_path, "sleep 60; true", timeout_s=0.5)
    assert ended.status == 124


def test_without_strace_a_job_says_so(tmp_path, monkeypatch):
    """The job fails with what to install"""
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = run(LocalExecutor(), tmp_path, "true")
    assert ended.status != 0
    assert b"install the package 'strace'" in ended.chunks[0][2]
