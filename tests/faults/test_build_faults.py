"""Builds that are killed, stopped and interrupted, with all that they started: the next one makes what is right."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.faults.workshop import NINJA, VCACHEFILE, Shop, at_event, expected, held, wait_for

Made = dict[str, tuple[int, bytes]]

STATES: Final = (0, 1, 2)
DIALECTS: Final = (NINJA, VCACHEFILE)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Made]:
    """What a clean build of a dialect and a number makes, byte by byte."""
    directory = tmp_path_factory.mktemp("right")
    known: dict[tuple[str, int], Made] = {}

    def look(file: str, number: int) -> Made:
        if (file, number) not in known:
            known[file, number] = expected(directory, file, number)
        return known[file, number]

    return look


@pytest.fixture
def shop(tmp_path: Path, request: pytest.FixtureRequest) -> Shop:
    return Shop.make(tmp_path / "tree", tmp_path / "cache", getattr(request, "param", NINJA))


def assert_goes_on(shop: Shop, made: Made) -> None:
    """The next build makes what a clean one makes, and the one after that has nothing to do."""
    shop.build()
    assert shop.made() == made
    again = shop.build()
    assert "nothing to do" in again.text, again.text
    assert shop.made() == made


def is_lock_free(shop: Shop) -> bool:
    with open(shop.state / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


# -- kill -9 of vcache --------------------------------------------------------------------------


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_cold(shop: Shop) -> None:
    """Nothing is in the cache: everything that changed runs."""
    shutil.rmtree(shop.cache, ignore_errors=True)


def restore_all(shop: Shop) -> None:
    """The tree is empty, and the cache has everything."""
    shop.build()
    shop.clean()


def go_on(shop: Shop) -> None:
    """A tree of another state, and a cache that may have this one."""


@pytest.mark.parametrize(("shop", "stride"), [(NINJA, 127), (VCACHEFILE, 181)], indirect=["shop"])
def test_a_killed_build_leaves_nothing_half_made(
    shop: Shop, right: Callable[[str, int], Made], stride: int
) -> None:
    """kill -9 at any file operation of a build: the next tree is that of a clean build, byte by byte."""
    kills = killing(shop, right, stride, begin=29)
    assert kills >= 3


@pytest.mark.slow
@pytest.mark.parametrize("shop", DIALECTS, indirect=True)
def test_a_build_may_be_killed_at_every_file_operation(shop: Shop, right: Callable[[str, int], Made]) -> None:
    """The same at each and every operation."""
    assert killing(shop, right, 1, begin=1) > 300


def killing(shop: Shop, right: Callable[[str, int], Made], stride: int, *, begin: int) -> int:
    """Kill builds at every so-manieth operation, in all three ways; how many were killed."""
    shop.build()
    kills = turn = 0
    for prepare in (run_cold, restore_all, go_on):
        number = begin
        while True:
            turn += 1
            shop.turn(turn % 3)
            prepare(shop)
            built = shop.attempt("build", before=at_event(number, kill_myself, below=(shop.root, shop.cache)))
            if built.status == 0:
                break
            assert built.status == -signal.SIGKILL, built.text
            kills += 1
            number += stride
            assert_goes_on(shop, right(shop.file, turn % 3))
            assert is_lock_free(shop)
    shop.wait_for_silence()
    assert shop.attempt("verify").status == 0
    return kills


@pytest.mark.slow
@pytest.mark.parametrize("shop", DIALECTS, indirect=True)
def test_a_build_may_be_killed_at_any_moment(shop: Shop, right: Callable[[str, int], Made]) -> None:
    """The real command, killed 150 times at random moments, and its compilers with it or not."""
    draw = random.Random(7)
    for turn in range(150):
        shop.turn(turn % 3)
        draw.choice((run_cold, restore_all, go_on))(shop)
        child = shop.start()
        with held(child):
            time.sleep(draw.uniform(0.02, 0.6))
            child.kill()
            child.wait()
            assert_goes_on(shop, right(shop.file, turn % 3))
        shop.wait_for_silence()


SLOW: Final = """
rule slow
  command = echo $$$$ > pid-$out; printf half > $out; {wait}; printf whole > $out
build first: slow
build second: slow
"""


def slow_shop(shop: Shop, wait: str) -> None:
    """Two steps that write a half, and wait."""
    (shop.root / NINJA).write_text(SLOW.format(wait=wait))


def are_half(shop: Shop) -> bool:
    return all(
        path.exists() and path.read_text() == "half" for path in (shop.root / "first", shop.root / "second")
    )


@pytest.mark.parametrize(
    "wait", ["sleep 60", "trap '' TERM; sleep 60 & sleep 60", "python3 -c 'while 1: pass'"]
)
def test_what_a_killed_build_started_ends_soon(shop: Shop, wait: str) -> None:
    """After kill -9 no command goes on for long, also one that ignores SIGTERM; its half is no result."""
    slow_shop(shop, wait)
    child = shop.start()
    with held(child):
        wait_for(lambda: are_half(shop), "the steps do not start")
        time.sleep(0.2)  # a child is not watched yet in the moment of its birth
        child.kill()
        child.wait()
        shop.wait_for_silence(5)
    assert is_lock_free(shop)
    slow_shop(shop, "true")
    shop.build()
    assert (shop.root / "first").read_text() == (shop.root / "second").read_text() == "whole"


# -- signals to vcache --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "is_group"), [(signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGINT, True)]
)
def test_an_interrupted_build_removes_halves(shop: Shop, number: signal.Signals, *, is_group: bool) -> None:
    """SIGINT, SIGTERM and SIGHUP end all, remove what is half made, and give 130."""
    slow_shop(shop, "sleep 60")
    child = shop.start()
    with held(child):
        wait_for(lambda: are_half(shop), "the steps do not start")
        (os.killpg if is_group else os.kill)(child.pid, number)
        ended = shop.finish(child, timeout_s=10).check_words()
    assert ended.status == 130, ended.text
    assert not (shop.root / "first").exists()
    assert not (shop.root / "second").exists()
    shop.wait_for_silence()
    slow_shop(shop, "true")
    shop.build()
    assert (shop.root / "first").read_text() == "whole"


def test_many_signals_are_as_good_as_one(shop: Shop) -> None:
    """Signals that come in a burst end a build as one does, without a traceback."""
    slow_shop(shop, "sleep 60")
    child = shop.start()
    with held(child):
        wait_for(lambda: are_half(shop), "the steps do not start")
        for number in (signal.SIGINT, signal.SIGTERM) * 20:
            os.kill(child.pid, number)
        ended = shop.finish(child, timeout_s=10).check_words()
    assert ended.status == 130, ended.text
    assert not (shop.root / "first").exists()


@pytest.mark.slow
def test_signals_at_any_moment_are_words(shop: Shop, right: Callable[[str, int], Made]) -> None:
    """SIGINT and SIGTERM at random moments after the start give 130 or a result, never a traceback."""
    draw = random.Random(11)
    for turn in range(80):
        shop.turn(turn % 3)
        run_cold(shop)
        child = shop.start()
        with held(child):
            time.sleep(draw.uniform(0.25, 0.7))
            os.kill(child.pid, draw.choice((signal.SIGINT, signal.SIGTERM)))
            ended = shop.finish(child, timeout_s=10).check_words()
        assert ended.status in (0, 130), ended.text
        assert_goes_on(shop, right(NINJA, turn % 3))


# -- kills of what vcache started ---------------------------------------------------------------


@pytest.mark.parametrize("whom", ["shell", "group"])
def test_a_killed_command_is_a_failure(shop: Shop, whom: str) -> None:
    """kill -9 of a step's shell, or of its group, fails the step; its half is removed and not kept."""
    slow_shop(shop, "sleep 60")
    child = shop.start("build", "-k")
    with held(child):
        wait_for(lambda: are_half(shop), "the steps do not start")
        for name in ("first", "second"):
            pid = int((shop.root / f"pid-{name}").read_text())
            (os.kill if whom == "shell" else os.killpg)(pid, signal.SIGKILL)
        ended = shop.finish(child, timeout_s=15).check_words()
    assert ended.status == 1, ended.text
    assert "signal 9" in ended.text, ended.text
    assert not (shop.root / "first").exists()
    slow_shop(shop, "true")
    shop.build()
    assert (shop.root / "first").read_text() == "whole"


def test_a_killed_compiler_is_a_failure(
    shop: Shop, right: Callable[[str, int], Made], tmp_path: Path
) -> None:
    """kill -9 of the compiler that leaves half an object file fails the step, and the next build compiles."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    real = shutil.which("gcc")
    (bin_ / "gcc").write_text(
        "#!/bin/sh\n"
        f'case "$*" in *src/a.c*) if [ -e {tmp_path}/kill ]; then'
        " printf half > obj/a.o; printf 'obj/a.o: src/h.h\\n' > obj/a.o.d; kill -9 $$; fi;; esac\n"
        f'exec {real} "$@"\n'
    )
    (bin_ / "gcc").chmod(0o755)
    hurt = Shop(shop.root, shop.cache, shop.file, {"PATH": f"{bin_}:{shop.environ['PATH']}"})
    (tmp_path / "kill").touch()
    ended = hurt.attempt("build").check_words()
    assert ended.status == 1, ended.text
    assert "signal 9" in ended.text
    assert not (shop.root / "obj/a.o").exists()
    (tmp_path / "kill").unlink()
    hurt.build()
    assert shop.made() == right(NINJA, 0)


# -- two builds of one tree ---------------------------------------------------------------------


def test_a_second_build_waits_for_a_stopped_first_one(shop: Shop) -> None:
    """While the first build of a tree stands still a second one waits, says so, and heeds Ctrl-C."""
    slow_shop(shop, "sleep 1")
    first = shop.start()
    with held(first):
        wait_for(lambda: are_half(shop), "the steps do not start")
        os.kill(first.pid, signal.SIGSTOP)
        second = shop.start()
        with held(second):
            time.sleep(1.2)
            assert second.poll() is None
            second.send_signal(signal.SIGINT)
            ended = shop.finish(second, timeout_s=5).check_words()
        assert ended.status == 130, ended.text
        assert "waiting for it" in ended.text
        third = shop.start()
        with held(third):
            time.sleep(0.4)
            os.kill(first.pid, signal.SIGCONT)
            assert shop.finish(first).check().text.count("built 2") == 1
            assert "nothing to do" in shop.finish(third).check().text
    assert (shop.root / "first").read_text() == "whole"


def test_a_second_build_goes_on_when_the_first_is_killed(shop: Shop) -> None:
    """A build that waits for a tree gets it as soon as the one that holds it dies, and makes it whole."""
    slow_shop(shop, "test -e go || sleep 60")
    first = shop.start()
    with held(first):
        wait_for(lambda: are_half(shop), "the steps do not start")
        second = shop.start()
        with held(second):
            time.sleep(0.3)
            (shop.root / "go").touch()
            first.kill()
            shop.finish(second).check()
            assert (shop.root / "first").read_text() == (shop.root / "second").read_text() == "whole"
    shop.wait_for_silence()
    assert (shop.root / "first").read_text() == (shop.root / "second").read_text() == "whole"


def test_builds_of_one_tree_at_once_are_one_after_the_other(
    shop: Shop, right: Callable[[str, int], Made]
) -> None:
    """Four builds of a tree that start together all end well, and every step ran once."""
    children = [shop.start() for _ in range(4)]
    ended = [shop.finish(child).check() for child in children]
    assert sum("built 6" in each.text for each in ended) == 1, [each.text for each in ended]
    assert shop.made() == right(NINJA, 0)


def test_trees_that_share_a_cache_do_not_disturb_each_other(
    tmp_path: Path, right: Callable[[str, int], Made]
) -> None:
    """Two checkouts in different states build at once from one cache, over and over: each is as it should be."""
    shops = [Shop.make(tmp_path / f"tree{number}", tmp_path / "cache") for number in range(2)]
    for turn in range(3):
        for number, shop in enumerate(shops):
            shop.turn((turn + number) % 3)
        for child, shop in [(shop.start(), shop) for shop in shops]:
            shop.finish(child).check()
        for number, shop in enumerate(shops):
            assert shop.made() == right(NINJA, (turn + number) % 3)


@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_compiles_of_one_key_at_once_agree(tmp_path: Path, count: int) -> None:
    """`vcache cc` of one source, started a hundred times at once, gives the compiler's object file each time."""
    shop = Shop.make(tmp_path / "tree", tmp_path / "cache")
    (shop.root / "gen").mkdir()
    (shop.root / "gen/n.h").write_text("#define N 5\n")
    words = ["gcc", "-O0", "-Igen", "-c", "src/a.c", "-o"]
    subprocess.run([*words, "right.o"], cwd=shop.root, check=True)
    line = " ".join(words)
    script = f"for i in $(seq {count}); do python -m vcache cc {line} out.o || echo failed & done; wait"
    ended = subprocess.run(
        ["/bin/sh", "-c", script], cwd=shop.root, env=shop.environ, capture_output=True, text=True,
        timeout=240, check=True,
    )  # fmt: skip
    assert ended.stdout + ended.stderr == ""
    assert (shop.root / "out.o").read_bytes() == (shop.root / "right.o").read_bytes()
