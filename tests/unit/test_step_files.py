"""Steps and files: outputs, depfiles, traced inputs, and steps inside of traced ones."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from vcache import Cache, Env, File, Glob, UsageError
from vcache.errors import UnsafePath


class Ran(list[object]):
    """The calls that ran: no part of any fingerprint."""

    def __vcache_key__(self):
        return "calls"


ran = Ran()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    ran.clear()
    monkeypatch.chdir(tmp_path)
    with Cache("c") as cache:
        yield cache


def write(path: str, text: str, *, age_s: float = 10) -> None:
    """A file as it was some time ago: no longer young enough to be doubted."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    past = time.time() - age_s
    os.utime(path, (past, past))


# -- outputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [0, 10, 5000, 1_000_000])
@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600])
def test_outputs_come_back_with_their_mode(cache, size_bytes, mode):
    """A hit gives the value and puts the files back, bit for bit, with their mode."""
    content = os.urandom(size_bytes)

    @cache.step(outs=["out/{name}.o"], code="none")
    def make(name):
        ran.append(1)
        target = Path(f"out/{name}.o")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
        target.chmod(mode)
        return {"files": "of the value itself"}

    assert make("a") == {"files": "of the value itself"}
    target = Path("out/a.o")
    target.unlink()
    target.parent.rmdir()
    assert make.is_cached("a")
    assert not target.exists()  # asking restores nothing
    assert make("a") == {"files": "of the value itself"}
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o7777 == mode
    assert len(ran) == 1


def test_outputs_in_place_are_left_alone(cache):
    """What already has content and mode keeps its time; what has another is replaced."""

    @cache.step(outs=["a", "b"])
    def make():
        Path("a").write_text("A")
        Path("b").write_text("B")

    make()
    os.utime("a", (1, 1))
    Path("b").write_text("changed")
    Path("b").chmod(0o600)
    make()
    assert Path("a").stat().st_mtime == 1
    assert Path("b").read_text() == "B"
    assert Path("b").stat().st_mode & 0o777 == 0o644


def test_equal_outputs_of_different_calls_are_stored_once(cache):
    """Two calls that make one large content keep one copy."""
    content = os.urandom(1_000_000)

    @cache.step(outs=["{name}"], code="none")
    def make(name):
        Path(name).write_bytes(content)

    make("a")
    before = cache.stats().disk_bytes
    make("b")
    assert cache.stats().disk_bytes - before < 10_000


def test_an_output_that_was_promised_and_not_made_is_said(cache):
    """The error names the output and where it was looked for; nothing is kept."""

    @cache.step(outs=["{name}.o"])
    def make(name):
        ran.append(1)

    for _ in range(2):
        with pytest.raises(UsageError, match=r"'a\.o' was promised and not made"):
            make("a")
    assert len(ran) == 2


def test_an_output_that_has_no_content_is_said(cache):
    """A FIFO is refused."""

    @cache.step(outs=["d"])
    def make():
        os.mkfifo("d")

    with pytest.raises(UsageError, match="not a file, link or directory"):
        make()


def test_a_directory_is_an_output(cache):
    """All that is below it comes back, and nothing else stays."""

    @cache.step(outs=["d"])
    def make():
        ran.append(1)
        Path("d/e").mkdir(parents=True)
        Path("d/e/f").write_text("f")

    make()
    Path("d/e/f").unlink()
    Path("d/more").write_text("")
    make()
    assert len(ran) == 1
    assert sorted(map(str, Path("d").rglob("*"))) == ["d/e", "d/e/f"]


@pytest.mark.parametrize("out", ["../a", "/etc/passwd", "x/../../a"])
def test_an_output_outside_of_the_root_is_refused(cache, out):
    """Before anything runs: another checkout could not put it there."""

    @cache.step(outs=[out])
    def make():
        ran.append(1)

    with pytest.raises(UsageError, match="outside the project root"):
        make()
    assert ran == []


def test_an_output_through_a_link_is_refused(cache, tmp_path_factory):
    """A link that leads out of the root is not followed, neither to keep nor to put back."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    @cache.step(outs=["d/o"])
    def make():
        Path("d").mkdir(exist_ok=True)
        Path("d/o").write_text("x")

    make()
    Path("d/o").unlink()
    Path("d").rmdir()
    Path("d").symlink_to(elsewhere)
    with pytest.raises(UnsafePath):
        make()
    assert list(elsewhere.iterdir()) == []


def test_a_template_that_cannot_be_filled_is_said(cache):
    """The error shows the template and what it may use."""

    @cache.step(outs=["{src.nosuch}"])
    def make(src):
        ran.append(1)

    with pytest.raises(UsageError, match=r"'\{src\.nosuch\}'.*it may use src"):
        make(1)
    assert ran == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outs": ["{nosuch}.o"]}, "'nosuch': it may use src"),
        ({"outs": ["out/{0}.o"]}, r"by position \(\{0\}\), which cannot be used: name a parameter"),
        ({"outs": ["out/{}.o"]}, r"by position \(\{\}\), which cannot be used"),
        ({"outs": ["{"]}, "cannot be read.*write {{ for a brace"),
        ({"outs": ["{quiet}.o"], "ignore": ["quiet"]}, "'quiet', which is ignored: it may use src"),
        ({"depfile": "{source}.d"}, "'source': it may use src, quiet"),
        ({"ignore": ("nope",)}, r"no parameter 'nope' \(it has: src, quiet\)"),
    ],
)
def test_a_name_that_the_function_does_not_have_is_refused_when_it_is_decorated(cache, options, words):
    """Whoever writes the step sees the slip, not the first to call it."""

    def make(src, quiet=False):
        ran.append(1)

    with pytest.raises(UsageError, match=words):
        cache.step(**options)(make)
    cache.step(ignore=["nope"])(lambda **kwargs: 1)
    cache.step(outs=["{{x}}/{src.stem}{src!s:>2}.o"])(make)


def test_an_exception_of_a_step_with_outputs_is_remembered(cache):
    """`errors` holds for steps with outputs as well."""

    @cache.step(outs=["o"], errors="1h")
    def fail():
        ran.append(1)
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            fail()
    assert len(ran) == 1


def test_outputs_that_are_lost_are_made_anew(cache):
    """A result whose files were collected or damaged is none: the step runs, and is not called cached."""

    @cache.step(outs=["o"])
    def make():
        ran.append(1)
        Path("o").write_bytes(b"x" * 300_000)
        return 7

    make()
    for key in list(cache.store.scan(b".outputs\0")):
        cache.store.delete(key)
    assert make.is_cached()  # in place
    Path("o").unlink()
    assert not make.is_cached()
    assert make() == 7
    assert Path("o").stat().st_size == 300_000
    assert len(ran) == 2
    Path("o").unlink()
    assert make() == 7
    assert len(ran) == 2


# -- what changes meanwhile ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "declared", "traced"])
def test_a_result_of_an_input_that_changed_meanwhile_is_not_kept(cache, how, caplog):
    """Nobody knows which content the result comes from: it is given, said and not kept."""
    write("in", "old")
    declared = {"argument": (), "declared": ["in"], "traced": "traced"}[how]

    @cache.step(inputs=declared, code="none")
    def read(src):
        ran.append(1)
        text = Path("in").read_text()
        Path("other").write_text("new!")
        if len(ran) == 1:
            os.replace("other", "in")
        return text

    argument = File("in") if how == "argument" else None
    assert read(argument) == "old"
    assert "in changed while it ran" in caplog.text or "in" in caplog.text
    assert read(argument) == "new!"
    assert read(argument) == "new!"
    assert len(ran) == 2


# -- depfiles ------------------------------------------------------------------------------------


def copy_with_depfile(cache):
    """A step that reads what `list` names, as a compiler reads headers, and says so in a depfile."""

    @cache.step(outs=["{src.stem}.o"], depfile="{src.stem}.d", code="none")
    def compile_all(src):
        ran.append(str(src))
        names = src.read_text().split()
        text = "".join(Path(name).read_text() for name in names)
        Path(f"{src.stem}.o").write_text(text)
        Path(f"{src.stem}.d").write_text(f"{src.stem}.o: {src} " + " \\\n  ".join(names) + "\n")
        return text

    return compile_all


def test_a_depfile_tells_the_inputs(cache):
    """After the first run a header counts: touched it does not, edited it does, and going back hits."""
    step = copy_with_depfile(cache)
    write("a.txt", "h1 h2")
    write("h1", "1")
    write("h2", "2")
    assert step(File("a.txt")) == "12"
    assert step(File("a.txt")) == "12"
    os.utime("h1")
    assert step(File("a.txt")) == "12"
    assert len(ran) == 1
    write("h2", "two")
    assert not step.is_cached(File("a.txt"))
    assert step(File("a.txt")) == "1two"
    write("h2", "2")
    assert step.is_cached(File("a.txt"))
    Path("a.o").unlink()
    assert step(File("a.txt")) == "12"
    assert Path("a.o").read_text() == "12"
    assert len(ran) == 2
    assert "h1" in str(step.explain(File("a.txt")))


def test_a_header_that_is_gone_is_a_miss(cache):
    """An input that an earlier run read and that is gone makes the step run; its own error counts."""
    step = copy_with_depfile(cache)
    write("a.txt", "h1")
    write("h1", "1")
    step(File("a.txt"))
    Path("h1").unlink()
    assert not step.is_cached(File("a.txt"))
    with pytest.raises(FileNotFoundError):
        step(File("a.txt"))
    write("a.txt", "")
    assert step(File("a.txt")) == ""


def test_several_states_are_remembered_at_once(cache):
    """Branches that alternate hit alternately, also when they read different headers."""
    step = copy_with_depfile(cache)
    states = [("h1", "x"), ("h1 h2", "y"), ("h2", "z")]

    def go_to(names, text):
        write("a.txt", names)
        write("h1", text)
        write("h2", text + text)
        return step(File("a.txt"))

    first = [go_to(*state) for state in states]
    assert [go_to(*state) for state in states * 2] == first * 2
    assert len(ran) == 3


def test_a_real_compilers_depfile(cache):
    """gcc's own depfile, with a blank in a name, leads to the headers it read."""
    write("inc/my head.h", "#define N 1\n")
    write("main.c", '#include "inc/my head.h"\nint n = N;\n')

    @cache.step(outs=["{src.stem}.o"], depfile="{src.stem}.d")
    def compile_c(src):
        ran.append(1)
        subprocess.run(["gcc", "-MD", "-MP", "-c", str(src), "-o", f"{src.stem}.o"], check=True)

    compile_c(File("main.c"))
    compile_c(File("main.c"))
    assert len(ran) == 1
    write("inc/my head.h", "#define N 22\n")
    compile_c(File("main.c"))
    assert len(ran) == 2


def test_a_depfile_that_was_promised_and_not_written_is_said(cache):
    """The error names the depfile."""

    @cache.step(depfile="a.d")
    def work():
        return 1

    with pytest.raises(UsageError, match=r"'a\.d' was promised and not written"):
        work()


def test_a_depfile_that_is_none_is_said(cache):
    """The error names step, file and line."""

    @cache.step(depfile="a.d")
    def work():
        Path("a.d").write_text("garbage\n")

    with pytest.raises(UsageError, match=r"work: 'a\.d': no rule of a depfile: 'garbage'"):
        work()


@pytest.mark.parametrize("named", ["absent.h", ".", "/dev/null"])
def test_a_depfile_that_names_no_file_keeps_nothing(cache, named, caplog):
    """What cannot be looked at again is no input: the result is given, said and not kept."""

    @cache.step(depfile="a.d")
    def work():
        ran.append(1)
        Path("a.d").write_text(f"a.o: {named}\n")
        return 1

    assert work() == work() == 1
    assert len(ran) == 2
    assert named in caplog.text


def test_an_mtime_in_the_future_does_not_count_as_a_change(cache):
    """A header with a time of tomorrow is an input like others."""
    step = copy_with_depfile(cache)
    write("a.txt", "h1")
    write("h1", "1", age_s=-86_400)
    time.sleep(0.02)  # its ctime, which nobody can set, must be before the run
    step(File("a.txt"))
    step(File("a.txt"))
    assert len(ran) == 1


def test_names_in_a_depfile_start_where_the_compiler_ran(cache, tmp_path, monkeypatch):
    """Relative names are those of the current directory, else of the project's root."""
    write("sub/h", "near")
    write("h", "far")
    write("top", "t")

    @cache.step(depfile="a.d")
    def work():
        ran.append(1)
        (tmp_path / "a.d").write_text("a.o: h top\n")

    monkeypatch.chdir("sub")
    work()
    write(str(tmp_path / "h"), "changed")
    work()
    assert len(ran) == 1
    write("h", "changed")
    work()
    assert len(ran) == 2
    write(str(tmp_path / "top"), "changed")
    work()
    assert len(ran) == 3


# -- traced --------------------------------------------------------------------------------------


def test_a_file_that_was_opened_counts(cache):
    """Reading a file, finding none, and listing a directory are inputs without being declared."""
    write("data/a", "1")

    @cache.step(inputs="traced")
    def read():
        ran.append(1)
        found = "".join(Path("data", name).read_text() for name in sorted(os.listdir("data")))
        try:
            return found + Path("override").read_text()
        except FileNotFoundError:
            return found

    def expect(text, runs):
        assert read() == text
        assert read() == text
        assert len(ran) == runs

    expect("1", 1)
    write("data/a", "one")
    expect("one", 2)
    write("data/b", "2")
    expect("one2", 3)
    write("override", "!")
    expect("one2!", 4)
    Path("override").unlink()
    expect("one2", 4)
    write("unrelated", "x")
    expect("one2", 4)
    explained = str(read.explain())
    assert all(name in explained for name in ("data/a", "data/b", "override"))


def test_a_trace_survives_the_process(cache):
    """A new cache of the directory finds what an earlier one traced."""
    write("in", "1")

    def read():
        ran.append(1)
        return Path("in").read_text()

    cache.step(inputs="traced")(read)()
    cache.close()
    with Cache("c") as other:
        step = other.step(inputs="traced")(read)
        assert step.is_cached()
        assert step() == "1"
        write("in", "two")
        assert not step.is_cached()
        assert step() == "two"
    assert len(ran) == 2


def inner_steps(cache):
    """Steps with an input each kind of step has, all by name."""

    @cache.step
    def argument(src):
        ran.append("inner")
        return src.read_text()

    @cache.step(inputs=["in"])
    def declared(src):
        ran.append("inner")
        return Path("in").read_text()

    @cache.step(inputs="traced")
    def traced(src):
        ran.append("inner")
        return Path("in").read_text()

    @cache.step(depfile="in.d")
    def depfile(src):
        ran.append("inner")
        Path("in.d").write_text("x: in\n")
        fd = os.open(".", os.O_DIRECTORY)  # as a child process: out of the hook's sight
        try:
            return subprocess.run(["cat", "in"], capture_output=True, text=True, check=True).stdout
        finally:
            os.close(fd)

    return {"argument": argument, "declared": declared, "traced": traced, "depfile": depfile}


@pytest.mark.parametrize("kind", ["argument", "declared", "traced", "depfile"])
@pytest.mark.parametrize("is_warm", [False, True])
def test_what_an_inner_step_depends_on_the_outer_one_does(cache, kind, is_warm):
    """Whether the inner step ran or was remembered while the outer one was traced: its file counts for both."""
    inner = inner_steps(cache)[kind]
    write("in", "1")
    src = File("in") if kind == "argument" else None

    @cache.step(inputs="traced", code="none")
    def outer():
        ran.append("outer")
        return inner(File("in") if src else None) + "!"

    if is_warm:
        inner(src)
        ran.clear()
    assert outer() == outer() == "1!"
    assert ran.count("outer") == 1
    write("in", "two")
    assert not outer.is_cached()
    assert outer() == outer() == "two!"
    assert ran.count("outer") == 2
    write("in", "1")
    assert outer() == "1!"
    assert ran.count("outer") == 2


def test_an_inner_steps_names_and_variables_count_too(cache, monkeypatch):
    """A pattern and a variable that a remembered inner step declared invalidate the outer one."""
    write("src/a", "1")

    @cache.step(inputs=[Glob("src/*"), Env("MODE")])
    def inner():
        return "".join(sorted(path.name for path in Path("src").iterdir())) + os.environ.get("MODE", "")

    @cache.step(inputs="traced", code="none")
    def outer():
        ran.append(1)
        return inner()

    inner()
    assert outer() == outer() == "a"
    write("src/b", "2")
    assert outer() == outer() == "ab"
    monkeypatch.setenv("MODE", "x")
    assert outer() == outer() == "abx"
    assert len(ran) == 3


def test_a_traced_step_three_deep(cache):
    """What a remembered step in a remembered step read counts for the outermost."""
    write("in", "1")

    @cache.step(inputs="traced", code="none")
    def lowest():
        return Path("in").read_text()

    @cache.step(inputs="traced", code="none")
    def middle():
        return lowest()

    @cache.step(inputs="traced", code="none")
    def top():
        ran.append(1)
        return middle()

    middle()
    assert top() == top() == "1"
    write("in", "two")
    assert top() == "two"
    assert len(ran) == 2


def test_outputs_of_an_inner_step_are_no_inputs(cache):
    """What an inner step makes, or puts back, while the outer is traced is made, not read."""

    @cache.step(outs=["o"])
    def inner():
        Path("o").write_text("made")

    @cache.step(inputs="traced", code="none")
    def outer():
        ran.append(1)
        inner()
        return Path("o").read_text()

    for _ in range(2):
        assert outer() == "made"
        assert "file     o" not in str(outer.explain())
        outer.invalidate()
        Path("o").unlink()
    assert len(ran) == 2


def test_the_caches_own_files_are_no_inputs(cache):
    """Neither the directory of this cache nor that of another counts, whatever is looked up meanwhile."""
    with Cache("other") as other:

        @other.step
        def inner(n):
            return [n]

        @cache.step(inputs="traced", code="none")
        def outer():
            ran.append(1)
            cache.put("k", 1)
            return inner(1) + inner(2) + [cache.get("k")]

        assert outer() == outer() == [1, 2, 1]
        assert len(ran) == 1
        explained = str(outer.explain())
        assert "other/" not in explained
        assert "c/" not in explained


def test_what_a_traced_step_does_out_of_sight_is_told(tmp_path, monkeypatch, caplog):
    """A program that a traced step starts is a warning, once, and `explain` lists it in any process."""
    monkeypatch.chdir(tmp_path)
    Path("in").write_text("1")

    def read(name):
        return subprocess.run(["cat", name], check=True, capture_output=True).stdout

    with Cache("c") as cache:
        step = cache.step(inputs="traced")(read)
        assert not any("subprocess" in word for word in step.explain("in").unseen)
        assert step("in") == b"1"
        assert step("./in") == b"1"
        assert [record.levelname for record in caplog.records].count("WARNING") == 1
        assert "subprocess: cat" in caplog.text and "read" in caplog.text
        assert any(word == "subprocess: cat" for word in step.explain("in").unseen)
        assert "not seen: subprocess: cat" in str(step.explain("in"))
    with Cache("c") as cache:
        assert "subprocess: cat" in cache.step(inputs="traced")(read).explain("in").unseen


def test_a_traced_step_learns_what_a_remembered_one_did_out_of_sight(tmp_path, monkeypatch):
    """A hit inside of a traced step hands on what its run did out of sight."""
    monkeypatch.chdir(tmp_path)
    with Cache("c") as cache:

        @cache.step(inputs="traced")
        def inner():
            return subprocess.run(["true"], check=True).returncode

        @cache.step(inputs="traced", code="none")
        def outer():
            return inner()

        inner()
        outer()
        assert "subprocess: true" in outer.explain().unseen
