"""Running a compiler in this process's place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from vcache.cc.running import end_as, run


def shell(script: str, **more):
    return run("/bin/sh", ["-c", script], **more)


def test_what_is_written_is_passed_on_and_kept(capfd):
    """Both streams come out as they are, and are kept with their exit code."""
    ran = shell("echo out; echo err >&2; exit 3")
    assert (ran.status, ran.is_whole, ran.was_signalled) == (3, True, False)
    assert dict(ran.chunks) == {1: b"out\n", 2: b"err\n"}
    assert capfd.readouterr() == ("out\n", "err\n")


def test_lines_of_standard_error_are_filtered(capfd):
    """Each whole line goes through the filter, also one without an end; standard output does not."""
    script = "printf '. a' >&2; sleep 0.05; printf '.h\\nwarning\\n. b.h' >&2; echo . c.h"
    seen: list[bytes] = []

    def keep(line: bytes) -> bytes:
        seen.append(line)
        return b"" if line.startswith(b". ") else line

    ran = shell(script, keep_line=keep)
    assert seen == [b". a.h\n", b"warning\n", b". b.h"]
    assert capfd.readouterr() == (". c.h\n", "warning\n")
    assert ran.is_whole


def test_more_than_is_kept_is_still_passed_on(capfd):
    """A compiler that writes without end is not kept in memory."""
    ran = shell("head -c 5000000 /dev/zero")
    assert not ran.is_whole
    assert len(capfd.readouterr().out) == 5_000_000


def test_a_program_that_cannot_be_started(tmp_path):
    """Is an error, and leaves no descriptor open."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        run(f"{tmp_path}/gone", [])
    assert len(os.listdir("/proc/self/fd")) == before


def test_signals_of_the_compiler():
    """A compiler that a signal ended has a negative status, and the process that says so ends by it."""
    assert shell("kill -TERM $$").status == -signal.SIGTERM
    code = f"from vcache.cc.running import end_as; end_as(-{int(signal.SIGKILL)})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert end_as(3) == 3


def test_handlers_are_put_back():
    """Afterwards signals do what they did before."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    shell("exit 0")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
