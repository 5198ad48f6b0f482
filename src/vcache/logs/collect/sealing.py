"""Sealing in a process of its own, for who takes so many records that one interpreter is busy with that.

At 100,000 lines/s a thread that seals takes turns with those that receive and commit, so that half of the
datagrams find no room; a process beside them takes another core (benchmarks/bench_syslog.py). It ends with
whoever started it, however that ends: it then reads the end of its standard input.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from vcache.errors import ConfigError, StoreBusy, StoreError
from vcache.kit.logs import logger

__all__ = ["SealProcess"]

_STDIN: Final = 0
_NICENESS: Final = 10  # what comes in goes first
_GRACE_S: Final = 60.0


class SealProcess:
    """Seals the tails of a directory every so often, until it is closed. A context manager.

    The store itself is opened with `DiskLogs(directory, seals=False)`.

    Attributes:
        pid: of the process.
    """

    def __init__(self, directory: str | os.PathLike[str], *, every_s: float = 1.0) -> None:
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

    def close(self) -> None:
        """Let it finish what it seals, and end. May be called again."""
        assert self._process.stdin is not None
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


def _main(directory: Path, every_s: float) -> None:
    from vcache.logs.disk import DiskLogs  # the parent has no need of what writes segments

    os.nice(_NICENESS)
    said = ""
    with DiskLogs(directory, seals=False) as logs:
        while not select.select([_STDIN], [], [], every_s)[0]:
            try:
                logs.seal(timeout_s=0)
                said = ""
            except StoreBusy:
                pass  # somebody else does it
            except (StoreError, ConfigError) as error:
                if str(error) != said:
                    said = str(error)
                    logger(__name__).warning("full tails of %s are not sealed: %s", directory, said)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), float(sys.argv[2]))
