"""A build script compiles a real C library through the cache, and does nothing twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Built, FirstBuild, World, another_checkout
from tests.e2e.sources import SOURCE_COUNT, VERSION

pytestmark = pytest.mark.e2e

INCLUDES = ("-Izstd", "-Izstd/common")
Started = Callable[["subprocess.Popen[str]"], "subprocess.Popen[str]"]


def ran(built: Built) -> set[str]:
    """The nodes whose step had to run."""
    return {line[4:] for line in built.output.splitlines() if line.startswith("ran ")}


def round_trip(world: World) -> str:
    return subprocess.check_output([world.root / "target/roundtrip"], text=True)


def test_first_run_compiles_each_source_once(first_build: FirstBuild) -> None:
    """The first run compiles every source, once, into a library that works."""
    sources = [call.split()[-3] for call in first_build.built.compiles]
    assert len(sources) == len(set(sources)) == SOURCE_COUNT + 1
    assert round_trip(first_build.world) == f"zstd {VERSION}: {1 << 20} bytes came back\n"


def test_second_run_starts_no_compiler(warm: World, first_build: FirstBuild) -> None:
    """A second run starts no compiler and leaves every output as it is."""
    times = {path: path.stat().st_mtime_ns for path in (warm.root / "target").iterdir()}
    built = warm.build("-O0")
    assert built.calls == ()
    assert ran(built) == set()
    assert warm.outputs() == first_build.outputs
    assert {path: path.stat().st_mtime_ns for path in (warm.root / "target").iterdir()} == times


def test_lost_outputs_come_back_bit_by_bit(warm: World, first_build: FirstBuild) -> None:
    """Outputs that were deleted are restored with their bytes and modes, without a compiler."""
    shutil.rmtree(warm.root / "target")
    assert warm.build("-O0").calls == ()
    assert warm.outputs() == first_build.outputs
    assert round_trip(warm).startswith("zstd ")


def test_damaged_outputs_are_put_right(warm: World, first_build: FirstBuild) -> None:
    """An output that was overwritten, or lost its mode, is restored as well."""
    objects = sorted((warm.root / "target").glob("*.o"))
    objects[0].write_bytes(b"")
    objects[1].write_bytes(objects[2].read_bytes())
    (warm.root / "target/roundtrip").chmod(0o600)
    assert warm.build("-O0").calls == ()
    assert warm.outputs() == first_build.outputs


def test_touching_files_changes_nothing(warm: World) -> None:
    """New modification times of unchanged files start no compiler."""
    now = time.time_ns()
    for path in warm.root.joinpath("zstd").rglob("*.[ch]"):
        os.utime(path, ns=(now, now))
    built = warm.build("-O0")
    assert built.calls == ()
    assert ran(built) == set()


@pytest.mark.parametrize(
    "header", ["zstd/common/pool.h", "zstd/compress/zstd_cwksp.h", "zstd/common/fse.h", "zstd/zstd.h"]
)
def test_editing_a_header_compiles_its_dependents(warm: World, header: str) -> None:
    """An edit in a header compiles exactly the sources that read it, as gcc -MM tells."""
    expected = warm.dependents(header, *INCLUDES)
    assert expected
    warm.edit(header, "\nstruct edited;\n")
    built = warm.build("-O0")
    assert built.compiled == expected
    assert len(built.compiles) == len(expected)


def test_an_unread_header_does_not_count(warm: World) -> None:
    """A header that no source reads, edited or removed, starts no compiler."""
    header = "zstd/legacy.h"
    (warm.root / header).write_text("#error nobody reads this\n")
    assert warm.build("-O0").calls == ()
    (warm.root / header).unlink()
    assert warm.build("-O0").calls == ()


def test_editing_a_comment_compiles_one_file(warm: World, first_build: FirstBuild) -> None:
    """A comment in a source compiles that one; its object is equal, so nothing after it runs."""
    warm.edit("zstd/compress/hist.c", "\n/* a comment */\n")
    built = warm.build("-O0")
    assert built.compiled == ran(built) == {"zstd/compress/hist.c"}
    assert warm.outputs() == first_build.outputs


def test_a_change_that_matters_reaches_the_program(warm: World, first_build: FirstBuild) -> None:
    """A real change goes through object, library and program; taken back, nothing runs."""
    source = warm.root / "zstd/common/zstd_common.c"
    before = source.read_text()
    changed = before.replace(
        "ZSTD_versionString(void) { return ZSTD_VERSION_STRING; }", 'ZSTD_versionString(void) { return "9"; }'
    )
    assert changed != before
    source.write_text(changed)
    assert ran(warm.build("-O0")) == {"zstd/common/zstd_common.c", "target/libzstd.a", "target/roundtrip"}
    assert round_trip(warm).startswith("zstd 9:")
    source.write_text(before)
    assert warm.build("-O0").calls == ()
    assert warm.outputs() == first_build.outputs


def test_a_second_checkout_hits(warm: World, first_build: FirstBuild, tmp_path: Path) -> None:
    """Another checkout elsewhere, with nothing built, takes all from the shared cache."""
    other = another_checkout(warm, tmp_path / "some where/deeper/zstd of another")
    shutil.rmtree(other.root / "target")
    built = other.build("-O0")
    assert built.calls == ()
    assert ran(built) == set()
    assert other.outputs() == first_build.outputs


def test_a_flag_compiles_all_and_back_nothing(warm: World, first_build: FirstBuild) -> None:
    """Another flag compiles every source; the old flag is still in the cache."""
    built = warm.build("-O0", "-g0", "-DNDEBUG")
    assert len(built.compiled) == SOURCE_COUNT + 1
    assert warm.build("-O0").calls == ()
    assert warm.outputs() == first_build.outputs


def test_another_compiler_compiles_all(warm: World, tmp_path: Path) -> None:
    """A compiler of other bytes, found first on PATH, compiles every source anew."""
    newer = tmp_path / "bin"
    newer.mkdir()
    (newer / "gcc").write_text((warm.bin / "gcc").read_text() + "# newer\n")
    (newer / "gcc").chmod(0o755)
    built = World(warm.root, warm.cache, newer, warm.script).build("-O0")
    assert len(built.compiled) == SOURCE_COUNT + 1


def test_a_killed_build_goes_on(empty: World, first_build: FirstBuild, started: Started) -> None:
    """After kill -9 in the middle, the next run takes over what was finished and ends well."""
    process = started(empty.start("-O0"))
    deadline = time.monotonic() + 60
    while len(empty.calls()) < 12 and time.monotonic() < deadline:
        assert process.poll() is None, "the build ended before it could be killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = empty.calls()
    built = empty.build("-O0")
    # Those that were compiling when it died start again; all others had been kept.
    assert (
        SOURCE_COUNT + 1 <= len(before) + len(built.compiles) <= SOURCE_COUNT + 1 + 2 * (os.cpu_count() or 1)
    )
    assert empty.outputs() == first_build.outputs
    assert round_trip(empty).startswith("zstd ")


def test_two_builds_at_once_share_the_work(
    empty: World, first_build: FirstBuild, tmp_path: Path, started: Started
) -> None:
    """Two checkouts built at once over one empty cache compile each source once between them."""
    other = another_checkout(empty, tmp_path / "other")
    processes = [started(world.start("-O0")) for world in (empty, other)]
    built = [world.finish(process) for world, process in zip((empty, other), processes, strict=True)]
    assert [each.returncode for each in built] == [0, 0], built
    assert sum(len(each.compiles) for each in built) == SOURCE_COUNT + 1
    assert empty.outputs() == other.outputs() == first_build.outputs


def test_a_broken_source_is_not_remembered(warm: World) -> None:
    """A compile error ends the build with gcc's words, each time; repaired, only that file compiles."""
    source = warm.root / "zstd/common/error_private.c"
    good = source.read_text()
    source.write_text("#error on purpose\n")
    for _ in range(2):
        built = warm.attempt("-O0")
        assert built.returncode != 0
        assert "on purpose" in built.output
        assert built.compiled == {"zstd/common/error_private.c"}
    source.write_text(good + "\n/* repaired */\n")
    assert warm.build("-O0").compiled == {"zstd/common/error_private.c"}


def files_of(cache: Path) -> dict[Path, int]:
    """The store's own files, with how far each is filled: they grow in steps, with zeros behind."""
    lengths = {path: len(path.read_bytes().rstrip(b"\0")) for path in cache.rglob("*") if path.is_file()}
    return {path: filled for path, filled in lengths.items() if filled > 4096 and "blobs" not in path.parts}


def flip(path: Path, at: int) -> None:
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def test_a_damaged_blob_costs_one_node(warm: World, first_build: FirstBuild) -> None:
    """A flipped bit in a blob's file runs again what made it, and nothing else."""
    blobs = sorted(path for path in (warm.cache / "blobs").rglob("*") if path.is_file())
    assert blobs
    for blob in blobs:
        flip(blob, blob.stat().st_size // 3)
        shutil.rmtree(warm.root / "target")
        built = warm.build("-O0")
        assert len(ran(built)) == 1, blob
        assert warm.outputs() == first_build.outputs


def test_damaged_segments_and_index_cost_little(warm: World, first_build: FirstBuild) -> None:
    """Bits flipped anywhere in the store's files are never served: each costs a node or two at most."""
    damaged = 0
    for part in range(1, 5):
        files = files_of(warm.cache)
        assert len(files) >= 2, files
        for path, filled in files.items():
            flip(path, filled * part // 5)
        shutil.rmtree(warm.root / "target")
        built = warm.build("-O0")
        assert len(ran(built)) <= 2 * len(files)
        assert warm.outputs() == first_build.outputs
        damaged += len(ran(built))
    assert damaged > 0, "no flip met anything that is read: this test would see nothing"


def test_a_cache_cut_in_half_still_builds(warm: World, first_build: FirstBuild) -> None:
    """A cache whose files lost the second half of their content costs work, never a wrong object."""
    for path, filled in files_of(warm.cache).items():
        os.truncate(path, filled // 2)
    shutil.rmtree(warm.root / "target")
    assert ran(warm.build("-O0"))
    assert warm.outputs() == first_build.outputs
    assert warm.build("-O0").calls == ()
