"""Upkeep in a process of its own, for who takes so many records that one interpreter is busy with that: sealing, and
keeping what the loggers of programs that are gone left in their rings.

At 100,000 lines/s a thread that seals takes turns with those that receive and commit, so that half of the
datagrams find no room; a process beside them takes another core (benchmarks/bench_syslog.py). It drops what
rules of retention ask for as well. It ends with whoever started it, however that ends: it then reads the
end of its standard input.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from vcache.errors import ConfigError, StoreBusy, StoreError
from vcache.kit.logs import logger
from vcache.logs.retention import Rule, Rules

if TYPE_CHECKING:
    from vcache.logs.disk import DiskLogs

__all__ = ["SealProcess"]

_STDIN: Final = 0
_NICENESS: Final = 10  # what comes in goes first
_GRACE_S: Final = 60.0
_ADOPT_EVERY: Final = 5  # rounds
_RETAIN_S: Final = 60.0
_LOCK_S: Final = 5.0


class SealProcess:
    """Seals the tails of a directory every so often, until it is closed. A context manager.

    The store itself is opened with `DiskLogs(directory, seals=False)`.

    Args:
        rules: what is dropped, at once and once a minute.

    Attributes:
        pid: of the process.
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, every_s: float = 1.0, rules: Rules | None = None
    ) -> None:
        command = [
            sys.executable,
            "-P",
            "-m",
            "vcache.logs.collect.sealing",
            os.fspath(directory),
            str(every_s),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for us: what it seals is finished
        )
        self.pid = self._process.pid
        if rules is not None and rules.is_bounded:
            self.keep(rules)

    def keep(self, rules: Rules) -> None:
        """Have it drop what other rules ask for, from here on."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it ended: whoever closes it sees that
            self._process.stdin.write(_written(rules))
            self._process.stdin.flush()

    def close(self) -> None:
        """Let it finish what it seals and drops, and end. May be called again."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # at any moment: sealing is made for it
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _written(rules: Rules) -> bytes:
    each = [[rule.pattern, rule.max_bytes, rule.max_records, rule.max_age_s] for rule in rules.rules]
    return json.dumps([each, rules.max_bytes, rules.max_age_s]).encode() + b"\n"


def _rules_of(line: bytes) -> Rules:
    each, max_bytes, max_age_s = json.loads(line)
    rules = [Rule(p, max_bytes=b, max_records=n, max_age_s=age) for p, b, n, age in each]
    return Rules(tuple(rules), max_bytes=max_bytes, max_age_s=max_age_s)


class _Work:
    """What the process does, again and again."""

    def __init__(self, logs: DiskLogs) -> None:
        self._logs = logs
        self._rules = Rules()
        self._text = b""
        self._due_s = 0.0
        self._said = ""

    def hear(self) -> bool:
        """Take in rules, if some were said; False at the end."""
        data = os.read(_STDIN, 1 << 16)
        *lines, self._text = (self._text + data).split(b"\n")
        if lines:
            self._rules, self._due_s = _rules_of(lines[-1]), 0.0
        return bool(data)

    def do(self) -> None:
        """Seal; when it is time, take what programs that are gone logged, and drop what is to go."""
        try:
            if self._due_s <= time.monotonic():
                self._logs.adopt_rings()
                if self._rules.is_bounded:
                    self._logs.retain(self._rules, timeout_s=_LOCK_S)
                self._due_s = time.monotonic() + _RETAIN_S
            self._logs.seal(timeout_s=0)
            self._said = ""
        except StoreBusy:
            pass  # somebody else does it
        except (StoreError, ConfigError) as error:
            if str(error) != self._said:
                self._said = str(error)
                logger(__name__).warning(
                    "the logs in %s are not kept in order: %s", self._logs.directory, error
                )


def _main(directory: Path, every_s: float) -> None:
    os.nice(_NICENESS)
    from vcache.logs.disk import DiskLogs  # the parent has no need of what writes segments

    with DiskLogs(directory, seals=False) as logs:
        work = _Work(logs)
        while True:
            if select.select([_STDIN], [], [], every_s)[0] and not work.hear():
                return
            work.do()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), float(sys.argv[2]))
