"""Real clients for tests: programs of npm, installed by name where tests of this user find them again.

An installation is made once per package and version, however many test processes ask for it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["npm"]

_INSTALL_S = 300


def npm(package: str, version: str = "latest") -> Path:
    """The directory of the programs of a package (`node_modules/.bin`), installed if it is not there.

    Raises:
        FileNotFoundError: there is no npm.
        RuntimeError: the installation failed.
    """
    program = shutil.which("npm")
    if program is None:
        raise FileNotFoundError("these tests need npm: apt-get install npm")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "vcache-tests", "npm")
    home.mkdir(parents=True, exist_ok=True)
    name = f"{package.strip('@').replace('/', '-')}-{version}"
    place = home / name
    programs = place / "node_modules" / ".bin"
    with open(home / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (place / "installed").exists():
            return programs
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        command = [
            program,
            "install",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(place),
            f"{package}@{version}",
        ]
        done = subprocess.run(
            command, cwd=place, capture_output=True, text=True, timeout=_INSTALL_S, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"npm install {package}@{version} failed: {done.stderr[-2000:]}")
        (place / "installed").touch()
    return programs
