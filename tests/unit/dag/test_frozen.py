"""Nothing to do is found out by stats alone, and only where it is certain."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from vcache.dag import frozen
from vcache.fingerprint.digests import signature


def _freeze(base: Path, *, goals: tuple[str, ...] = (), file: str = "build.ninja", **changes: object) -> None:
    files = sorted(path for path in base.rglob("*") if path.is_file())
    given: dict[str, object] = {
        "base": os.fspath(base),
        "steps": 1234,
        "files": b"\0".join(os.fsencode(path.relative_to(base)) for path in files),
        "signatures": b"".join(signature(path.stat()) for path in files),
        "links": b"",
        "link_signatures": b"",
        "present": [],
        "absent": [],
        "variables": ["PATH", frozen.GENERAL],
        "environ": os.environ,
        "notes": {},
    }
    pieces = frozen.freeze(file, goals, **(given | changes))  # type: ignore[arg-type]
    (base / ".vcache").mkdir(exist_ok=True)
    (base / ".vcache" / frozen.clean_name(file, goals)).write_bytes(b"".join(map(bytes, pieces)))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    (base / "src").mkdir(parents=True)
    for name in ("build.ninja", "src/a.c", "src/b.c"):
        (base / name).write_text(name)
    return base


_ASK = """
import sys
from vcache.dag.frozen import try_clean
try_clean(sys.argv[2:], sys.argv[1])
print("full way")
"""


def _ask(cwd: Path, *words: str, dialect: str = frozen.VCACHE, env: Mapping[str, str] = {}) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _ASK, dialect, *words],
        cwd=cwd,
        env={**os.environ, **env},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_what_was_frozen_is_clean_and_said_so(base: Path) -> None:
    """each dialect says it in its own words"""
    _freeze(base)
    assert _ask(base) == "nothing to do: 1,234 up to date\n"
    assert _ask(base, "-q") == ""
    assert _ask(base, "-j", "4", "-k") == "nothing to do: 1,234 up to date\n"
    assert _ask(base, dialect=frozen.NINJA) == "ninja: no work to do.\n"
    assert (
        _ask(base.parent, "-C", "base", "-v", dialect=frozen.NINJA)
        == "ninja: Entering directory `base'\nninja: no work to do.\n"
    )


def test_goals_have_their_own_file(base: Path) -> None:
    """what is known of some goals says nothing of others"""
    _freeze(base, goals=("a", "b"))
    assert "nothing to do" in _ask(base, "a", "b")
    for words in ((), ("a",), ("b", "a"), ("a", "b", "c")):
        assert _ask(base, *words) == "full way\n"


def test_a_vcachefile_elsewhere_has_its_base_there(base: Path) -> None:
    """-f DIR/vcachefile.py asks DIR; -f DIR/build.ninja does not"""
    (base / "vcachefile.py").write_text("")
    _freeze(base, file="vcachefile.py")
    _freeze(base)
    assert "nothing to do" in _ask(base.parent, "-f", "base/vcachefile.py")
    assert "nothing to do" in _ask(base)
    assert "no work" in _ask(base, dialect=frozen.NINJA)
    assert _ask(base.parent, "-f", "base/build.ninja") == "full way\n"


def _edit(base: Path) -> None:
    (base / "src/a.c").write_text("other")


def _touch(base: Path) -> None:
    os.utime(base / "src/b.c")


def _remove(base: Path) -> None:
    (base / "src/b.c").unlink()


def _swap(base: Path) -> None:
    (base / "new").write_text("src/a.c")
    (base / "new").rename(base / "src/a.c")


def _damage(base: Path) -> None:
    path = next((base / ".vcache").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(base: Path) -> None:
    path = next((base / ".vcache").iterdir())
    path.write_bytes(path.read_bytes()[:-9])


def _new_version(base: Path) -> None:
    path = next((base / ".vcache").iterdir())
    data = bytearray(path.read_bytes())
    data[12] += 1
    path.write_bytes(data)


def _move(base: Path) -> None:
    base.rename(base.parent / "moved")
    base.symlink_to("moved")


@pytest.mark.parametrize(
    "change",
    [_edit, _touch, _remove, _swap, _damage, _cut, _new_version, _move],
    ids=lambda each: each.__name__,
)
def test_every_difference_leads_the_full_way(base: Path, change: object) -> None:
    """a changed, touched, replaced or missing file; a damaged, cut or newer record; a moved base"""
    _freeze(base)
    assert callable(change)
    change(base)
    assert _ask(base) == "full way\n"


def test_every_bit_of_a_record_counts(base: Path) -> None:
    """a record with any one byte changed is no record, or says the same"""
    _freeze(base)
    path = next((base / ".vcache").iterdir())
    data = path.read_bytes()
    sections = "key base steps python device files signs links link-signs present absent names salt values"
    section = frozen.unpack(data, frozen.seal)
    whole = [bytes(part) for name in sections.split() if (part := section(name)) is not None]
    assert len(whole) == len(sections.split())
    for at in range(len(data)):
        wrong = bytearray(data)
        wrong[at] ^= 0x10
        section = frozen.unpack(wrong, frozen.seal)
        for name, right in zip(sections.split(), whole, strict=True):
            part = section(name)
            assert part is None or bytes(part) == right


def test_variables_count(base: Path) -> None:
    """PATH, what is named, and all of ours: changed, set or unset"""
    environ = {**os.environ, "SEEN": "1"}
    environ.pop("UNSET", None)
    _freeze(base, variables=["PATH", "SEEN", "UNSET", frozen.GENERAL], environ=environ)
    same = {"SEEN": "1"}
    assert "nothing" in _ask(base, env=same | {"OTHER": "1"})
    for change in ({"SEEN": "2"}, {"UNSET": ""}, {"PATH": "/bin"}, {"VCACHE_DIR": "/nowhere"}):
        assert _ask(base, env=same | change) == "full way\n"
    assert _ask(base) == "full way\n"


def test_values_of_variables_are_not_kept(base: Path) -> None:
    """a secret's value cannot be read from the record"""
    _freeze(base, variables=["SECRET"], environ={"SECRET": "tops3cret"})
    assert b"tops3cret" not in next((base / ".vcache").iterdir()).read_bytes()


def test_presence_and_absence_count(base: Path) -> None:
    """what is only asked whether it is there"""
    _freeze(base, present=[b"src"], absent=[b"src/c.c", b"gone/x"])
    assert "nothing" in _ask(base)
    (base / "src/c.c").write_text("")
    assert _ask(base) == "full way\n"
    (base / "src/c.c").unlink()
    assert "nothing" in _ask(base)
    (base / "src").rename(base / "lib")
    assert _ask(base) == "full way\n"


def test_links_count_as_they_are(base: Path) -> None:
    """a link that leads elsewhere is another one"""
    (base / "src/l").symlink_to("a.c")
    _freeze(base, links=b"src/l", link_signatures=signature((base / "src/l").lstat()))
    assert "nothing" in _ask(base)
    (base / "src/l").unlink()
    (base / "src/l").symlink_to("a.c")
    assert _ask(base) == "full way\n"


def test_many_files_are_shared_out(base: Path) -> None:
    """halves looked at by two processes: a change in the first or the last file is seen"""
    names = [f"src/f{number}" for number in range(7001)]
    for name in names:
        (base / name).touch()
    _freeze(base)
    assert "nothing" in _ask(base)
    for name in (names[0], names[3500], names[-1]):
        before = (base / name).stat()
        (base / name).write_text("x")
        assert _ask(base) == "full way\n"
        assert before.st_size == 0
        _freeze(base)


def test_many_links_are_shared_out_as_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """whoever looks at a share looks at the links themselves"""
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: {0, 1})
    paths = [os.fsencode(tmp_path / f"l{number}") for number in range(6001)]
    for path in paths:
        os.symlink(b"nowhere", path)
    signs = memoryview(b"".join(signature(os.lstat(path)) for path in paths)).cast("q")
    assert frozen.differing(paths, signs, os.lstat) == []


@pytest.mark.parametrize(
    ("words", "dialect"),
    [
        ("-n", "vcache"), ("--json", "vcache"), ("-v", "vcache"), ("-D a=b", "vcache"), ("-j", "vcache"),
        ("-j x", "vcache"), ("-C a -C b", "vcache"), ("-f", "vcache"), ("--", "vcache"), ("-", "vcache"),
        ("-C -x", "vcache"), ("-k", "ninja"), ("-n", "ninja"), ("-t clean", "ninja"), ("-d explain", "ninja"),
        ("--version", "ninja"), ("-q", "ninja"), ("--quiet", "ninja"), ("-w dupbuild=err", "ninja"),
    ],
)  # fmt: skip
def test_what_is_not_plain_goes_the_full_way(words: str, dialect: str) -> None:
    """other options, options without their value, and options given twice"""
    assert frozen.parse(words.split(), dialect) is None


def test_plain_words_are_read() -> None:
    """values beside their flag or behind it"""
    ask = frozen.parse(["-Cdir", "a", "-f", "x.ninja", "-j8", "-k0", "b", "-v"], frozen.NINJA)
    assert ask is not None
    assert (ask.directory, ask.file, ask.goals, ask.is_quiet) == ("dir", "x.ninja", ("a", "b"), False)
    ask = frozen.parse(["-q", "-k", "a", "-j", "2"], frozen.VCACHE)
    assert ask is not None
    assert (ask.directory, ask.file, ask.goals, ask.is_quiet) == ("", "", ("a",), True)


def test_sections_come_back() -> None:
    """bytes under names, of any length, empty ones too"""
    sections = {"a": b"", "b" * 12: b"x" * 13, "c": b"\0" * 8}
    data = b"".join(map(bytes, frozen.pack(sections, frozen.seal)))
    section = frozen.unpack(data, frozen.seal)
    assert {name: bytes(section(name) or b"") for name in sections} == sections
    assert section("d") is None
    for wrong in (b"", data[:5], data[:40], b"x" + data):
        assert frozen.unpack(wrong, frozen.seal)("b" * 12) is None


_LIGHT = """
import sys
before = set(sys.modules)
import vcache.__main__, vcache.dag.frozen, _blake2
print(*sorted(set(sys.modules) - before))
"""


def test_it_imports_only_what_the_interpreter_brings() -> None:
    """nothing is loaded on the clean path but our four modules and built-in ones"""
    done = subprocess.run([sys.executable, "-I", "-c", _LIGHT], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    ours = {"vcache", "vcache.__main__", "vcache.dag", "vcache.dag.frozen"}
    assert loaded - ours <= {"__future__", "_blake2", "_operator", "gc"}
    assert ours <= loaded


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VCACHE_")]:
        monkeypatch.delenv(name)
