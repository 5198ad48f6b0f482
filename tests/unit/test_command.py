"""The engine of cached commands, in this process, on small shell commands."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from vcache import recipes
from vcache.cache import Cache
from vcache.command import CachedCommand, Command, Done, spec_of
from vcache.errors import FingerprintError, UnsafePath, UsageError
from vcache.fingerprint.inputs import Dir, File, Glob


class Ears:
    def __init__(self) -> None:
        self.heard: list[tuple[int, bytes]] = []

    def __call__(self, stream: int, data: bytes) -> None:
        self.heard.append((stream, data))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def cache(tmp_path: Path, root: Path):
    with Cache(f"disk:{tmp_path / 'cache'}", root=root) as opened:
        yield opened


def sh(cache: Cache, script: str, **options) -> Done:
    """Run a shell script as a cached command."""
    return CachedCommand(cache, Command(argv=("sh", "-c", script), **options))(Ears())


COUNTED = "echo x >> ../runs; "  # outside the root: seen by nobody but the test


def runs(root: Path) -> int:
    path = root.parent / "runs"
    return len(path.read_text().split()) if path.exists() else 0


def test_a_hit_restores_and_replays(cache, root):
    """The second run starts nothing: outputs come back with their modes, words in their order"""
    script = COUNTED + "echo one; echo two >&2; echo data > a.out; chmod 750 a.out; echo three"
    ears = Ears()
    first = CachedCommand(cache, Command(argv=("sh", "-c", script), outs=("a.out",)))(ears)
    (root / "a.out").unlink()
    again = Ears()
    second = CachedCommand(cache, Command(argv=("sh", "-c", script), outs=("a.out",)))(again)
    assert (first.is_hit, second.is_hit, runs(root)) == (False, True, 1)
    assert second.name == first.name
    assert second.saved_ns > 0
    assert (root / "a.out").read_text() == "data\n"
    assert (root / "a.out").stat().st_mode & 0o777 == 0o750
    assert second.chunks == first.chunks
    for stream in (1, 2):
        assert b"".join(data for number, data in again.heard if number == stream) == b"".join(
            data for number, data in ears.heard if number == stream
        )


def test_an_equal_output_is_left_alone(cache, root):
    """A hit does not touch a file that is as it should be, and mends one that is not"""
    script = COUNTED + "echo data > a.out"
    sh(cache, script, outs=("a.out",))
    os.utime(root / "a.out", (1, 1))
    assert sh(cache, script, outs=("a.out",)).is_hit
    assert (root / "a.out").stat().st_mtime == 1
    (root / "a.out").write_text("spoilt")
    assert sh(cache, script, outs=("a.out",)).is_hit
    assert (root / "a.out").read_text() == "data\n"


@pytest.mark.parametrize("script", ["exit 3", "kill -9 $$"])
def test_a_failure_is_not_kept(cache, root, script):
    """A failing command runs again each time, with its own status"""
    statuses = {sh(cache, COUNTED + script).status for _ in range(2)}
    assert statuses == ({3} if script == "exit 3" else {137})
    assert runs(root) == 2


def test_promised_and_not_made(cache, root):
    """All missing outputs are named, and nothing is kept"""
    done = sh(cache, COUNTED + "touch b", outs=("a", "b", "c/d"))
    assert done.missing == ("a", "c/d")
    assert not sh(cache, COUNTED + "touch b", outs=("a", "b", "c/d")).is_hit


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"argv": ("sh", "-c", "cat in > out; :")}, "changed argument: 'cat in > out' → 'cat in > out; :'"),
        ({"env": ("VCACHE_TEST_A",)}, "added environment variable VCACHE_TEST_A: unset"),
        ({"tools": ("cat",)}, "added tool cat"),
        ({"outs": ("out", "in")}, "added output in"),
        ({"is_bound_to_cwd": True}, "added working directory absolute"),
    ],
)
def test_everything_declared_counts_and_is_explained(cache, root, change, line, monkeypatch):
    """A change of arguments, variables, tools, outputs or directory is a miss that names it"""
    monkeypatch.delenv("VCACHE_TEST_A", raising=False)
    (root / "in").write_text("1")
    command = Command(argv=("sh", "-c", "cat in > out"), inputs=(File(root / "in"),), outs=("out",))
    base = CachedCommand(cache, command)
    assert base(Ears()).name
    assert base.explain().is_hit
    changed = CachedCommand(cache, replace(command, **change))
    why = changed.explain()
    assert not why.is_hit
    assert why.nearest == base.name
    words = [words for each in why.changes for words in recipes.in_words(each)]
    assert any(found.startswith(line) for found in words), words


def test_an_input_that_changes_is_a_miss_and_back_again_a_hit(cache, root):
    """Content counts, not time: the old content finds the old result"""
    source = root / "in"
    script = COUNTED + "cat in"
    names = []
    for content in ("1", "2", "1"):
        source.write_text(content)
        names.append(sh(cache, script, inputs=(File(source),)).name)
    assert names[0] == names[2] != names[1]
    assert runs(root) == 2


def test_two_checkouts_agree(tmp_path, root, cache):
    """Names are relative to the root: another directory with the same files hits"""
    other = tmp_path / "other"
    other.mkdir()
    for place in (root, other):
        (place / "sub").mkdir()
        (place / "sub" / "in").write_text("1")

    def command(cwd: Path) -> Command:
        argv = ("sh", "-c", "cat in; echo made > ../out")
        return Command(argv=argv, cwd=cwd, inputs=(spec_of("in", cwd=cwd),), outs=("../out",))

    assert not CachedCommand(cache, command(root / "sub"))(Ears()).is_hit
    with Cache(f"disk:{tmp_path / 'cache'}", root=other) as second:
        assert CachedCommand(second, command(other / "sub"))(Ears()).is_hit
    assert (other / "out").read_text() == "made\n"


@pytest.mark.parametrize("words", ["", "pwd", "pwd > ../out"])
def test_a_result_that_holds_the_root_stays_where_it_is(tmp_path, root, cache, words):
    """The root in the arguments is no difference; in words or outputs it binds the result to its place"""
    other = tmp_path / "other"
    found = []
    for place in (root, other, root, other):
        (place / "sub").mkdir(parents=True, exist_ok=True)
        (place / "out").unlink(missing_ok=True)
        with Cache(f"disk:{tmp_path / 'cache'}", root=place) as opened:
            argv = ("sh", "-c", f"echo made > {place}/out; {words}")
            done = CachedCommand(opened, Command(argv=argv, cwd=place / "sub", outs=("../out",)))(Ears())
        found.append((done.is_hit, (place / "out").read_text(), b"".join(data for _, data in done.chunks)))
    is_bound = bool(words)
    assert [is_hit for is_hit, _, _ in found] == [False, not is_bound, True, True]
    assert found[0][1:] == found[2][1:]
    assert found[1][1:] == found[3][1:]
    assert (found[0][1:] != found[1][1:]) is is_bound


def test_directories_and_links_are_outputs(cache, root):
    """They come back as they were, without what was put there since"""
    script = COUNTED + "mkdir -p d/empty; echo x > d/x; ln -s nowhere d/l; ln -sf d/x l"
    assert not sh(cache, script, outs=("d", "l")).is_hit
    shutil.rmtree(root / "d")
    (root / "l").unlink()
    (root / "d").mkdir()
    (root / "d" / "stale").touch()
    assert sh(cache, script, outs=("d", "l")).is_hit
    assert sorted(os.listdir(root / "d")) == ["empty", "l", "x"]
    assert (os.readlink(root / "l"), os.readlink(root / "d" / "l")) == ("d/x", "nowhere")
    assert runs(root) == 1


def test_an_input_that_changed_while_it_ran(cache, root):
    """Nothing is kept under the old content's key, and the input is named"""
    (root / "in").write_text("1")
    inputs = (File(root / "in"),)
    done = sh(cache, "echo 2 > in", inputs=inputs)
    assert (done.status, done.name) == (0, "")
    assert "file in changed while it ran" in done.remark
    (root / "in").write_text("1")
    assert not sh(cache, "echo 2 > in", inputs=inputs).is_hit


def test_outputs_in_an_input_directory_are_pointed_out(cache, root):
    """The usual slip, `--in .`, is explained where it bites"""
    done = sh(cache, "touch out", inputs=(Dir(root),), outs=("out",))
    assert "it holds the output out" in done.remark


def test_somebody_interfered(cache):
    """A run that was sent a signal is not kept even if it succeeded"""
    cached = CachedCommand(cache, Command(argv=("true",)))
    assert cached(Ears(), may_keep=lambda: False).remark == "it was sent a signal"
    assert not cached(Ears()).is_hit


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "link/out"])
def test_unsafe_outputs_are_refused_before_running(cache, root, tmp_path, name):
    """A name that leads out of the root is an error, and nothing runs"""
    (root / "link").symlink_to(tmp_path)
    with pytest.raises((UsageError, UnsafePath)):
        sh(cache, COUNTED + "touch ../out", outs=(name,))
    assert runs(root) == 0


def test_missing_inputs_and_tools_are_named(cache, root):
    """What does not exist is an error that names it, before anything runs"""
    with pytest.raises(FingerprintError, match=r"no\.c"):
        sh(cache, COUNTED, inputs=(File(root / "no.c"),))
    with pytest.raises(FingerprintError, match="nosuchtool"):
        CachedCommand(cache, Command(argv=("nosuchtool",)))
    with pytest.raises(UsageError, match="needs a program"):
        CachedCommand(cache, Command(argv=()))
    assert runs(root) == 0


DEPS = COUNTED + "cat a.c b.h > out; printf 'out: a.c \\\\\\n b.h\\n' > out.d"


def test_a_depfile_finds_what_was_not_declared(cache, root):
    """Two steps: a header that only the depfile names is an input from the second run on"""
    (root / "a.c").write_text("a")
    (root / "b.h").write_text("b")
    os.utime(root / "b.h", (4e9, 4e9))  # a time that somebody set is no change
    command = Command(argv=("sh", "-c", DEPS), outs=("out",), depfile="out.d")
    assert CachedCommand(cache, command)(Ears()).name
    (root / "out").unlink()
    (root / "out.d").unlink()
    assert CachedCommand(cache, command)(Ears()).is_hit
    assert (root / "out.d").exists()
    (root / "b.h").write_text("B")
    cached = CachedCommand(cache, command)
    why = cached.explain()
    (words,) = [words for each in why.changes for words in recipes.in_words(each)]
    assert words.startswith("changed file b.h: ")
    assert not cached(Ears()).is_hit
    (root / "b.h").write_text("b")
    assert CachedCommand(cache, command)(Ears()).is_hit
    assert runs(root) == 2


@pytest.mark.parametrize(
    ("script", "remark"),
    [
        ("printf 'out: a.c\\n' > out.d; echo 2 > a.c", "a.c changed while it ran"),
        ("printf 'out: gone.h\\n' > out.d", "its depfile names gone.h: [Errno 2]"),
    ],
)
def test_discovered_inputs_that_are_not_certain(cache, root, script, remark):
    """A discovered input that changed, or is gone, is named and nothing is kept"""
    (root / "a.c").write_text("1")
    done = sh(cache, script, depfile="out.d")
    assert (done.status, done.name) == (0, "")
    assert remark in done.remark


def test_a_depfile_that_was_not_written(cache):
    """A promised depfile is a promised output"""
    assert sh(cache, "true", depfile="out.d").missing == ("out.d",)


def test_a_disabled_cache_only_runs(root):
    """Where caching is off a command runs each time and nothing is said of it"""
    with Cache("mem:1MB", root=root, disabled=True) as cache:
        for _ in range(2):
            done = sh(cache, COUNTED, outs=("never",))
            assert (done.status, done.is_hit, done.remark, done.missing) == (0, False, "", ())
    assert runs(root) == 2


def test_a_result_that_is_not_ours_is_not_used(cache, root):
    """A result that names other files than the command's outputs is a miss: it writes nothing"""
    cached = CachedCommand(cache, Command(argv=("true",)))
    digest = b"\0" * 32
    strangers: list[object] = ["text", {"value": []}]
    strangers.append({"value": [], "files": [["../../evil", 0o644, digest]]})
    for content in strangers:
        cache.put(cached.name, content)
        assert cached.find() is None
    assert not (root.parent.parent / "evil").exists()


def test_a_ttl_ends_a_result(cache, root):
    """A result is used within its time to live only"""
    sh(cache, COUNTED, ttl_ns=0)
    assert not sh(cache, COUNTED, ttl_ns=0).is_hit
    assert runs(root) == 2


def test_threads_that_want_the_same_run_it_once(cache, root):
    """Of many askers one runs the command, and all get its words"""
    found: list[Done] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        cached = CachedCommand(cache, Command(argv=("sh", "-c", COUNTED + "echo hi")))
        barrier.wait()
        found.append(cached(Ears()))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs(root) == 1
    assert {done.chunks for done in found} == {((1, b"hi\n"),)}


def test_what_a_path_on_a_command_line_stands_for(root):
    """A directory, a pattern, or a file; a file whose name looks like a pattern is a file"""
    (root / "inc").mkdir()
    (root / "odd[1].c").touch()
    assert spec_of("inc", cwd=root) == Dir(root / "inc")
    assert spec_of("no/", cwd=root) == Dir(f"{root}/no/")
    assert spec_of("*.c", cwd=root) == Glob(f"{root}/*.c")
    assert spec_of("odd[1].c", cwd=root) == File(root / "odd[1].c")
    assert spec_of("a.c", cwd=root) == File(root / "a.c")


def test_a_pattern_below_a_directory_with_brackets(tmp_path):
    """Only the user's part of a path is a pattern"""
    odd = tmp_path / "a[b]"
    odd.mkdir()
    (odd / "x.c").touch()
    with Cache("mem:1MB", root=odd) as cache:
        (names, found) = cache.observer.observe(spec_of("*.c", cwd=odd))
    assert (names.note, found.name) == ("1 name", "x.c")
