"""Appending to the log store of the settings, and nothing else, as every build does.

What also answers queries takes 10 ms longer to load. The store is kept in order by a process of its own,
which no build waits for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vcache.cli.recording import Taker
    from vcache.cli.setup import Setup
    from vcache.config import Settings
    from vcache.logs.record import Record

__all__ = ["MANY_TAILS", "Appender", "appender"]

MANY_TAILS: Final = 64
"""Each build leaves a file: when there are so many, they are sealed."""


def appender(setup: Setup) -> Taker | None:
    """What takes the records of this command; None where the settings have none kept.

    Raises:
        ConfigError: a setting is wrong.
        StoreError: the store cannot be opened.
    """
    settings = setup.settings()
    if settings.logs_place.startswith(("http://", "https://")):
        from vcache.logs.remote import RemoteLogs  # HTTP is loaded where it is wanted

        return RemoteLogs(settings.logs_place)
    return Appender(settings) if settings.logs_place else None


class Appender:
    """Appends to one store.

    Threads: one at a time.
    """

    def __init__(self, settings: Settings) -> None:
        from vcache.logs.opening import open_directory
        from vcache.logs.tail.writer import TailWriter

        self._settings = settings
        self._directory = Path(settings.logs_place)
        open_directory(self._directory)
        self._writer = TailWriter(self._directory)

    def append(self, records: Sequence[Record]) -> None:
        """Keep records: a crash of this process loses none, a power loss perhaps.

        Raises:
            StoreError: they were not kept.
        """
        self._writer.append(records, sync=False)

    def close(self) -> None:
        """Release the file; have the store put in order if that is worth it."""
        self._writer.close()
        if len(os.listdir(self._directory / "tail")) >= MANY_TAILS:
            self._put_in_order()

    def _put_in_order(self) -> None:
        """Seal, and drop what the settings want dropped, in a process that outlives this one."""
        from importlib.util import find_spec

        if find_spec("numpy") is None:  # sealing needs the extra `logs`; tails are read without
            return
        settings = self._settings
        bounds = []
        if settings.logs_max_bytes is not None:
            bounds += ["--max-bytes", str(settings.logs_max_bytes)]
        if settings.logs_max_age_s is not None:
            bounds += ["--max-age", f"{settings.logs_max_age_s:.0f}s"]
        for pattern, kept in settings.logs_keep.items():
            bounds += ["--keep", f"{pattern}={kept}"]
        words = [
            "logs",
            *(["gc", *bounds] if bounds else ["seal"]),
            "--logs",
            os.fspath(self._directory),
            "-q",
        ]
        nothing = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in (0, 1, 2)]
        # A session of its own: Ctrl-C, and the end of this one, are none of its business.
        command = [sys.executable, "-m", "vcache", *words]
        os.posix_spawn(sys.executable, command, os.environ, file_actions=nothing, setsid=True)
