"""Looking at inputs, and looking again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vcache.entry import Dep, make_key
from vcache.errors import FingerprintError
from vcache.fingerprint import digests as digests_module
from vcache.fingerprint.digests import FileDigests
from vcache.fingerprint.inputs import Absent, Dir, Env, File, Glob, Listing, Ref, Spec, Tool, Value
from vcache.fingerprint.manifest import Manifest
from vcache.fingerprint.observe import Observer
from vcache.hash import digest


def observer(
    root: Path,
    *,
    environ: Mapping[str, str] | None = None,
    entries: dict[bytes, bytes] | None = None,
    base: Path | None = None,
) -> Observer:
    """An observer by whose clock every file is old."""
    return Observer(
        root,
        digests=FileDigests(root, clock=lambda: time.time_ns() + 10**11),
        environ={} if environ is None else environ,
        entry_digest=None if entries is None else entries.get,
        base=base,
    )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    for name in ("src/a.c", "src/b.c", "inc/a.h", "inc/.conf"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    monkeypatch.chdir(root)
    return root


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def reason(looker: Observer, dep: Dep) -> str | None:
    stale = looker.check(dep)
    if stale is None:
        return None
    assert stale.dep is dep
    return stale.reason


def test_a_file_is_named_from_the_root_and_known_by_content(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a path below the root is written, its name is the same; a plain path is a File."""
    looker = observer(project)
    (dep,) = looker.observe(File("src/a.c"))
    assert (dep.kind, dep.name, dep.identity) == ("file", "src/a.c", digest(b"src/a.c"))
    monkeypatch.chdir(project / "inc")
    (project / "back").symlink_to("src")
    for same in (
        "../src/a.c",
        project / "src" / "a.c",
        "../src/./a.c",
        f"{project}//src/a.c",
        "../inc/../src/a.c",
    ):
        assert looker.observe(same) == (dep,)
    assert looker.observe("../back/a.c")[0].name == "src/a.c"  # behind `..` links are resolved


def test_a_root_behind_a_link_is_the_same_root(project: Path) -> None:
    """The current directory is always the real one, the root may be given by a link."""
    link = project.parent / "link"
    link.symlink_to(project)
    assert observer(link).observe("src/a.c")[0].name == "src/a.c"
    assert observer(link).observe(link / "src/a.c")[0].name == "src/a.c"


def test_a_file_outside_keeps_its_path(project: Path) -> None:
    """What does not move with the project is named absolutely."""
    other = project.parent / "other"
    other.write_text("x")
    (dep,) = observer(project).observe("../other")
    assert dep.name == str(other)
    assert observer(project).check(dep) is None


def test_dotdot_behind_a_link_is_where_the_system_goes(project: Path) -> None:
    """`link/..` is the parent of the link's target."""
    (project.parent / "else").mkdir()
    (project.parent / "a.c").write_text("outside")
    (project / "link").symlink_to("../else")
    (dep,) = observer(project).observe("link/../a.c")
    assert (dep.name, dep.identity) == (str(project.parent / "a.c"), digest(b"outside"))


def test_relative_paths_start_where_open_starts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that opens the same path reads the same file; a base can be set instead."""
    looker = observer(project)
    monkeypatch.chdir(project / "src")
    assert looker.observe("a.c")[0].name == "src/a.c"
    monkeypatch.chdir(project / "inc")
    with pytest.raises(FingerprintError):
        looker.observe("a.c")
    assert observer(project, base=project / "src").observe("a.c")[0].name == "src/a.c"


def test_two_checkouts_agree(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and identities know nothing of where the project lies; dependencies of one hold in the other."""
    specs: list[Spec] = [
        File("src/a.c"),
        Glob("src/*.c"),
        Dir("inc"),
        Glob("nope/*"),
        Absent("nope"),
        Listing("src"),
    ]
    mine = observer(project).observe_all(specs)
    copy = tmp_path / "copy [1]"
    for file in sorted(project.rglob("*")):
        if file.is_file():
            (copy / file.relative_to(project)).parent.mkdir(parents=True, exist_ok=True)
            (copy / file.relative_to(project)).write_bytes(file.read_bytes())
    monkeypatch.chdir(copy)
    theirs = observer(copy).observe_all(specs)
    assert Manifest(mine).fingerprint() == Manifest(theirs).fingerprint()
    assert observer(copy).first_stale(mine) is None


def test_a_missing_file_is_an_error_with_the_remedy(project: Path) -> None:
    """A declared file that does not exist names itself and the way out."""
    with pytest.raises(FingerprintError, match=r"'nope.c'.*does not exist.*Absent\('nope.c'\)"):
        observer(project).observe("nope.c")
    for spec in (File("nope", by="mtime"), Dir("nope"), Listing("nope")):
        with pytest.raises(FingerprintError, match="does not exist"):
            observer(project).observe(spec)


def test_a_file_holds_until_its_content_changes(project: Path) -> None:
    """Touching is nothing; changing and removing are named; restoring holds again."""
    looker = observer(project)
    (dep,) = looker.observe("src/a.c")
    file = project / "src/a.c"
    assert looker.check(dep) is None
    os.utime(file)
    assert looker.check(dep) is None
    file.write_text("other")
    assert reason(looker, dep) == "changed"
    file.unlink()
    assert reason(looker, dep) == "is gone"
    file.mkdir()
    assert "is a directory" in str(reason(looker, dep))
    file.rmdir()
    file.write_text("src/a.c")
    assert looker.check(dep) is None


def test_an_unchanged_signature_is_enough(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of an untouched file reads nothing, in a new process too."""
    (dep,) = observer(project).observe("src/a.c")
    fresh = observer(project)

    def fail(*_: object) -> bytes:
        raise AssertionError("read")

    monkeypatch.setattr(digests_module, "_hash", fail)
    assert fresh.check(dep) is None
    os.utime(project / "src/a.c", ns=(1, 1))
    with pytest.raises(AssertionError, match="read"):
        fresh.check(dep)


def test_by_mtime_nothing_is_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size and time decide alone."""
    monkeypatch.setattr(digests_module, "_hash", lambda *_: pytest.fail("read"))
    looker = observer(project)
    (dep,) = looker.observe(File("src/a.c", by="mtime"))
    assert (dep.kind, looker.check(dep)) == ("mtime", None)
    os.utime(project / "src/a.c", ns=(1, 1))
    assert reason(looker, dep) == "has another size or modification time"
    (project / "src/a.c").unlink()
    assert reason(looker, dep) == "is gone"
    with pytest.raises(FingerprintError, match="directory"):
        looker.observe(File("src", by="mtime"))


def test_a_glob_is_its_names_and_its_files(project: Path) -> None:
    """One dependency for the list, one for each file, so that a change has a name."""
    looker = observer(project)
    deps = looker.observe(Glob("src/*.c"))
    assert [(dep.kind, dep.name) for dep in deps] == [
        ("glob", "src/*.c"),
        ("file", "src/a.c"),
        ("file", "src/b.c"),
    ]
    assert deps[0].note == "2 names"
    (project / "src/b.c").write_text("other")
    stale = looker.first_stale(deps)
    assert stale is not None
    assert (stale.dep.name, stale.reason) == ("src/b.c", "changed")


@pytest.mark.parametrize(
    "spec", [Glob("src/*.c"), Glob("src/**", hidden=True), Glob("src"), Dir("src"), Listing("src")]
)
def test_a_new_or_missing_name_is_noticed(project: Path, spec: Glob | Dir | Listing) -> None:
    """Adding, renaming and removing a file that matches each make the list stale."""
    looker = observer(project)
    names = looker.observe(spec)[0]
    assert looker.check(names) is None
    (project / "src/c.c").write_text("")
    assert "3 names found" in str(reason(looker, names))
    (project / "src/a.c").unlink()
    assert "other files" in str(reason(looker, names))
    (project / "src/a.c").write_text("anything: names only")
    (project / "src/c.c").unlink()
    assert looker.check(names) is None


def test_a_dir_takes_hidden_files_and_must_exist(project: Path) -> None:
    """A directory is all that is in it; when it goes, that is noticed."""
    looker = observer(project)
    deps = looker.observe(Dir("inc"))
    assert [dep.name for dep in deps] == ["inc", "inc/.conf", "inc/a.h"]
    (project / "inc").rename(project / "gone")
    assert reason(looker, deps[0]) == "is gone"


def test_a_listing_names_and_reads_nothing(project: Path) -> None:
    """A listing gives one dependency, whatever the files hold, subdirectories among the names."""
    looker = observer(project)
    (dep,) = looker.observe(Listing("."))
    (project / "src/a.c").write_text("changed")
    assert looker.check(dep) is None
    (project / "more").mkdir()
    assert "other files" in str(reason(looker, dep))


def test_a_pattern_is_named_from_the_root(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from below, from outside, and where a directory's name looks like a pattern."""
    looker = observer(project)
    monkeypatch.chdir(project / "src")
    assert looker.observe(Glob("*.c"))[0].name == "src/*.c"
    assert looker.observe(Glob("../inc/"))[0].name == "inc/**"
    assert looker.observe(Glob(f"{project}/*/a.c"))[0].name == "*/a.c"
    assert [dep.name for dep in looker.observe(Glob("."))] == ["src", "src/a.c", "src/b.c"]
    odd = project / "a[b]c"
    odd.mkdir()
    (odd / "x.c").write_text("")
    monkeypatch.chdir(odd)
    deps = looker.observe(Glob("*.c"))
    assert [dep.name for dep in deps] == ["a[[]b]c/*.c", "a[b]c/x.c"]
    assert looker.first_stale(deps) is None
    (project.parent / "out").mkdir()
    (project.parent / "out" / "y.c").write_text("")
    assert looker.observe(Glob("../../out/*.c"))[1].name == str(project.parent / "out" / "y.c")


def test_a_variable_unset_is_not_empty(project: Path) -> None:
    """Unset, empty and set are three things, and the value itself is nowhere."""
    found = {}
    for state, environ in {"unset": {}, "empty": {"CC": ""}, "set": {"CC": "s3cret"}}.items():
        (found[state],) = observer(project, environ=environ).observe(Env("CC"))
        assert found[state].note == state
    assert len({dep.identity for dep in found.values()}) == 3
    assert b"s3cret" not in repr(found["set"]).encode()
    looker = observer(project, environ={"CC": ""})
    assert looker.check(found["empty"]) is None
    assert reason(looker, found["unset"]) == "was unset and is set"
    assert reason(looker, found["set"]) == "changed"
    assert reason(observer(project), found["set"]) == "is unset"


def test_a_tool_is_the_file_that_would_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found through PATH and links, known by content; its name is all that travels."""
    real = executable(project / "opt" / "real-cc", "#!/bin/sh\n")
    (project / "bin").mkdir()
    (project / "bin" / "cc").symlink_to(real)
    environ = {"PATH": f"{project}/none:{project}/bin"}
    looker = observer(project, environ=environ)
    (dep,) = looker.observe(Tool("cc"))
    assert (dep.kind, dep.name, dep.identity) == ("tool", "cc", digest(b"#!/bin/sh\n"))
    assert dep.note == str(real)
    with monkeypatch.context() as patched:  # while the signature stands, a new process reads nothing
        patched.setattr(digests_module, "_hash", lambda *_: pytest.fail("read"))
        assert observer(project, environ=environ).check(dep) is None
    os.utime(real, ns=(1, 1))
    assert looker.check(dep) is None
    real.write_text("#!/bin/bash\n")
    assert "changed" in str(reason(looker, dep))


def test_an_earlier_tool_is_noticed(project: Path) -> None:
    """What appears earlier in PATH is what would run."""
    executable(project / "bin" / "cc", "old")
    looker = observer(project, environ={"PATH": f"{project}/first:{project}/bin"})
    (dep,) = looker.observe(Tool("cc"))
    (project / "first").mkdir()
    (project / "first" / "cc").write_text("not executable")
    assert looker.check(dep) is None
    executable(project / "first" / "cc", "new one")
    assert str(project / "first" / "cc") in str(reason(looker, dep))


def test_a_missing_tool_shows_where_it_was_sought(project: Path) -> None:
    """The error holds the PATH; a tool that goes is no longer found."""
    with pytest.raises(FingerprintError, match=r"Tool\(name='cc'\).*PATH=/nowhere.*install"):
        observer(project, environ={"PATH": "/nowhere"}).observe(Tool("cc"))
    with pytest.raises(FingerprintError, match=r"PATH=/a:/b:/c and 2 more directories: install"):
        observer(project, environ={"PATH": "/a:/b:/c:/d:/e"}).observe(Tool("cc"))
    with pytest.raises(FingerprintError, match="no such executable at"):
        observer(project).observe(Tool("./cc"))
    tool = executable(project / "cc", "x")
    looker = observer(project)
    (dep,) = looker.observe(Tool("./cc"))
    assert (dep.name, looker.check(dep)) == ("./cc", None)
    tool.unlink()
    assert reason(looker, dep) == "is no longer found"


def test_a_value_is_its_type_and_content(project: Path) -> None:
    """1, 1.0 and True are three values; a recorded value cannot change by itself."""
    looker = observer(project)
    deps = [looker.observe(Value("level", value))[0] for value in (1, 1.0, True, [1], {"a": 1})]
    assert len({dep.identity for dep in deps}) == len(deps)
    assert looker.observe(Value("level", 1)) == (deps[0],)
    assert looker.first_stale(deps) is None


def test_an_entry_is_its_digest(project: Path) -> None:
    """Another entry must exist, and makes stale what depends on it when it changes or goes."""
    key = make_key("parser")
    entries = {key: digest(b"1")}
    looker = observer(project, entries=entries)
    (dep,) = looker.observe(Ref("parser"))
    assert looker.check(dep) is None
    entries[key] = digest(b"2")
    assert reason(looker, dep) == "changed"
    entries.clear()
    assert reason(looker, dep) == "is not in the cache"
    with pytest.raises(FingerprintError, match=r"'parser'.*make it first"):
        looker.observe(Ref("parser"))
    with pytest.raises(FingerprintError, match="outside a cache"):
        observer(project).observe(Ref("parser"))


def test_any_key_survives_in_a_ref(project: Path) -> None:
    """Keys of any bytes are found again from what was recorded."""
    for name in (b"\xff\x00\xed\xa0\x80", "\ud800", "é"):
        entries = {make_key(name): digest(b"1")}
        looker = observer(project, entries=entries)
        (dep,) = looker.observe(Ref(name))
        assert looker.check(dep) is None


def test_absence_is_an_input(project: Path) -> None:
    """Creating what was absent is a change, and so is removing what was there."""
    looker = observer(project)
    (dep,) = looker.observe(Absent("local.conf"))
    assert dep.identity == b""
    assert looker.check(dep) is None
    (project / "local.conf").write_text("")
    assert reason(looker, dep) == "was absent and exists"
    (dep,) = looker.observe(Absent("local.conf"))
    (project / "local.conf").unlink()
    assert reason(looker, dep) == "is gone"


def test_a_racy_file_is_recorded_without_a_hint(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file as young as the clock is looked at closely the next time, and found unchanged."""
    looker = Observer(project, digests=FileDigests(project))
    (dep,) = looker.observe("src/a.c")
    assert dep.hint == b""
    assert looker.check(dep) is None


def test_what_cannot_be_looked_at_again_holds(project: Path) -> None:
    """Arguments and code are part of a key; they have no place to look at."""
    looker = observer(project)
    assert (
        looker.first_stale([Dep("arg", "x", b"1"), Dep("code", "f", b"2"), Dep("value", "v", b"3")]) is None
    )


@pytest.mark.parametrize("make", [lambda: 3, lambda: b"src/a.c", lambda: None])
def test_what_is_no_spec_is_refused(project: Path, make: Callable[[], object]) -> None:
    """An error that shows the value, not a guess."""
    with pytest.raises(FingerprintError):
        observer(project).observe(make())  # type: ignore[arg-type]


def test_names_of_any_bytes(project: Path) -> None:
    """A file whose name is not UTF-8 is an input like any other."""
    name = os.fsdecode(b"src/\xff\n.c")
    (project / name).write_text("x")
    looker = observer(project)
    deps = looker.observe(Glob("src/*.c"))
    assert name in [dep.name for dep in deps]
    assert looker.first_stale(deps) is None
    assert Manifest.from_bytes(Manifest(deps).to_bytes()) == Manifest(deps)
