"""How a command ends: errors become exit codes and lines for people, and the process is left at once.

Exit codes: 0 done, or a hit; 1 absent, or a problem was found; 2 a usage error; for `run` the
command's own; 130 after Ctrl-C, 141 when the reader of the output went away.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Final, NoReturn

from vcache.errors import FormatError, UsageError, VcacheError

__all__ = ["carried_out", "leave"]

_PIPED: Final = 141
_INTERRUPTED: Final = 130


def carried_out(work: Callable[[], object]) -> int:
    """The exit code of a command: what it returns if that is a number, or that of what went wrong in it."""
    try:
        result = work()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        return _hush()
    except (UsageError, FormatError) as error:
        return _fail(error, 2)
    except VcacheError as error:
        return _fail(error, 1)
    except OSError as error:
        return _hush() if error.errno == errno.EPIPE else _fail(error, 1)
    return result if isinstance(result, int) else 0


def _hush() -> int:
    """Nobody reads what is still in the buffer: the interpreter's last flush must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return _PIPED


def _fail(error: Exception, status: int) -> int:
    words = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        words = f"{os.fsdecode(error.filename)}: {error.strerror}"
    print(f"vcache: error: {words}", file=sys.stderr, flush=True)
    return status


def leave(code: object) -> NoReturn:
    """End the process without taking the interpreter down in good order, which takes 6 ms."""
    status = code if isinstance(code, int) else 0 if code is None else 1
    try:
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        status = status or _PIPED
    try:
        sys.stderr.flush()
    except (BrokenPipeError, ValueError):
        pass
    os._exit(status)
