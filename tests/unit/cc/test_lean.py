"""Records: what they hold, and what they are trusted for. In a process of its own where it would end it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.cc import lean
from vcache.fingerprint.compilers import HEEDED

TEXT = st.binary(max_size=10).map(lambda name: os.fsdecode(name.replace(b"\0", b"")))
SETTLED_NS = 10_000_000_000


@given(
    st.binary(max_size=50), st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=4), st.lists(TEXT, max_size=4),
    st.lists(st.tuples(TEXT, st.binary(max_size=50)), max_size=3),
    st.lists(st.tuples(st.integers(1, 2), st.binary(max_size=50)), max_size=3),
)  # fmt: skip
def test_what_is_written_is_read(asked, files, absent, outs, said):
    """A record gives back everything it was made of."""
    assert lean.decode(lean.encode(asked, files, absent, outs, said)) == (asked, files, absent, outs, said)


@given(st.data())
def test_damage_is_seen(data):
    """Any flipped bit, and any cut, makes a record none."""
    record = bytearray(lean.encode(b"asked", [("a", "1", "2")], ["b"], [("o", b"object")], [(2, b"words")]))
    if data.draw(st.booleans()):
        del record[data.draw(st.integers(0, len(record) - 1)) :]
    else:
        record[data.draw(st.integers(0, len(record) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(lean.Doubt):
        lean.decode(bytes(record))


def test_every_heeded_variable_is_asked_for():
    """A variable that counts for the cache counts for its short cut."""
    assert {name.encode() for name in HEEDED} <= lean.HEEDED


def test_a_young_signature_is_not_trusted(tmp_path):
    """A file that changed within the last two seconds could change again unseen."""
    path = tmp_path / "x"
    path.touch()
    status = path.stat()
    assert lean.trusted_signature(status, status.st_ctime_ns + 1_000_000_000) == ""
    assert lean.trusted_signature(status, status.st_ctime_ns + SETTLED_NS) == lean.signature(status)


class Place:
    """A record of one compile, and a way to ask for it in a process of its own."""

    def __init__(self, tmp_path) -> None:
        self.root = tmp_path
        (tmp_path / "cc").write_text("#!/bin/sh\n")
        (tmp_path / "cc").chmod(0o755)
        (tmp_path / "x.c").write_text("int x;")
        self.environ = {"VCACHE_DIR": f"{tmp_path}/cache", "PATH": f"{tmp_path}:/bin:/usr/bin"}

    def write(self, **more) -> None:
        status = os.stat(self.root / "x.c")
        record = {
            "looked_at": [("x.c", lean.signature(status), lean.content_digest(os.fspath(self.root / "x.c")))],
            "absent": ["gone.h"], "outs": [("x.o", b"object")], "said": [(1, b"out\n"), (2, b"err\n")],
        } | more  # fmt: skip
        code = (
            "import os, sys\nfrom vcache.cc import lean\n"
            "asked = lean.request(lean.find_compiler('cc', lean.home()), ['cc', '-c', 'x.c'], os.getcwd())\n"
            "path = lean.record_path(lean.home(), asked)\nos.makedirs(os.path.dirname(path), exist_ok=True)\n"
            f"lean.write_file(path, lean.encode(asked, **{record!r}), mode=0o600)\n"
        )
        self.python(code, check=True)

    def ask(self) -> subprocess.CompletedProcess[bytes]:
        return self.python("from vcache.cc import lean\nlean.main(['cc', '-c', 'x.c'])\nprint('asked')\n")

    def python(self, code: str, *, check: bool = False) -> subprocess.CompletedProcess[bytes]:
        source = os.path.dirname(os.path.dirname(os.path.dirname(lean.__file__)))
        command = [sys.executable, "-S", "-c", f"import sys\nsys.path.insert(0, {source!r})\n{code}"]
        return subprocess.run(command, cwd=self.root, env=self.environ, capture_output=True, check=check)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_a_record_is_the_answer(place):
    """What was made is there, what was said is said, and a hit is counted."""
    place.write()
    done = place.ask()
    assert (done.returncode, done.stdout, done.stderr) == (0, b"out\n", b"err\n")
    assert (place.root / "x.o").read_bytes() == b"object"
    assert (place.root / "cache/cc/counts").read_text() == "hit\n"


def test_output_has_the_mode_of_a_new_file(place):
    """Less the umask, as the compiler would create it."""
    place.write()
    before = os.umask(0o027)
    try:
        place.ask()
    finally:
        os.umask(before)
    assert (place.root / "x.o").stat().st_mode & 0o777 == 0o640


def test_a_touched_file_is_looked_at_closely(place):
    """Another signature over the same content is a hit, and the record learns it once it is settled."""
    place.write()
    os.utime(place.root / "x.c", (1, 1))
    assert place.ask().stdout == b"out\n"
    assert place.ask().stdout == b"out\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "x.c").write_text("int y;"),
        lambda root: (root / "x.c").unlink(),
        lambda root: (root / "gone.h").touch(),
        lambda root: (root / "x.o").symlink_to("elsewhere"),
        lambda root: (root / "x.o").mkdir(),
    ],
    ids=["content", "gone", "appeared", "link", "directory"],
)
def test_any_doubt_is_passed_on(place, change):
    """What changed, is gone, has appeared, or stands in the way, is for somebody who knows more."""
    place.write()
    change(place.root)
    assert place.ask().stdout == b"asked\n"


@pytest.mark.parametrize("variable", ["CPATH", "VCACHE_NAMESPACE", "SOURCE_DATE_EPOCH"])
def test_a_heeded_variable_asks_for_something_else(place, variable):
    """Another environment is another request."""
    place.write()
    place.environ[variable] = "1"
    assert place.ask().stdout == b"asked\n"


def test_another_program_of_that_name_asks_for_something_else(place, tmp_path):
    """A compiler that comes first in PATH is the one that would run."""
    place.write()
    (tmp_path / "first").mkdir()
    (tmp_path / "first/cc").write_text("#!/bin/sh\n")
    (tmp_path / "first/cc").chmod(0o755)
    place.environ["PATH"] = f"{tmp_path}/first:{place.environ['PATH']}"
    assert place.ask().stdout == b"asked\n"


def test_launchers_are_no_compilers(place, tmp_path):
    """A launcher of ours, in front of PATH, is passed over."""
    launchers = tmp_path / "cache/cc/launchers"
    launchers.mkdir(parents=True)
    (launchers / "cc").symlink_to("/bin/false")
    place.environ["PATH"] = f"{launchers}:{place.environ['PATH']}"
    place.write()
    assert f"{tmp_path}/cc\0".encode() in next((tmp_path / "cache/cc").glob("??/*")).read_bytes()
    assert place.ask().stdout == b"out\n"


def test_only_builtins_are_loaded(place):
    """Nothing but builtin modules is imported on the way to a hit."""
    place.write()
    code = "import sys\nbefore = set(sys.modules)\nfrom vcache.cc import lean\nprint(*(set(sys.modules) - before))\n"
    loaded = set(place.python(code, check=True).stdout.decode().split())
    assert {name for name in loaded if not name.startswith("vcache")} <= {
        *sys.builtin_module_names,
        "__future__",
    }


def test_used_records_stay_young(place):
    """A record that is used now and then is not the oldest when records are swept."""
    place.write()
    (record,) = (place.root / "cache/cc").glob("??/*")
    os.utime(record, (1, 1))
    place.ask()
    assert record.stat().st_mtime > time.time() - 100
