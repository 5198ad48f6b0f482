"""Real sources to build, inside sdists of PyPI packages: zstd in `zstandard`, lua in `lupa`, c-blosc2
(CMake) in `blosc2`, pkgconf (Meson) in `pkgconf`.

zstandard 0.14.1 is the last release whose sdist holds zstd (1.4.5) as a tree of separate files; later
ones ship one amalgamated file. Nothing of it is committed. pip asks the build backend for metadata, and
is answered by a stand-in, so that no code of an sdist runs on this machine but what a test builds; of
pkgconf's own backend, a few functions that call Meson's, only the definitions do.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = [
    "SOURCE_COUNT",
    "VERSION",
    "Sdist",
    "fetched",
    "unpack_blosc2",
    "unpack_lua",
    "unpack_pkgconf",
    "unpack_zstd",
]

VERSION = "1.4.5"
SOURCE_COUNT = 29
_FOLDERS = ("common", "compress", "decompress", "dictBuilder")


@dataclass(frozen=True)
class Sdist:
    """A source archive of PyPI, as it was when its digest was written down."""

    package: str
    release: str
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.package}-{self.release}.tar.gz"


_ZSTD = Sdist("zstandard", "0.14.1", "5dd700e52ec28c64d43f681ccde76b6436c8f89a332d6c9e22a6b629f28daeb5")
_LUA = Sdist("lupa", "2.2", "665a006bcf8d9aacdfdb953824b929d06a0c55910a662b59be2f157ab4c8924d")

_BLOSC2 = Sdist("blosc2", "2.7.1", "34db4d41543b16e894d507d6c7d10a9a67c9dd420ff40b072f7c39185cbb8fe8")
_PKGCONF = Sdist("pkgconf", "2.5.1.post2", "47533b00032e0be6e49e519d7265435a41b23809a937522a51f8b0936d3774ec")

_BACKEND = """\
import os, sys

class Backend:
    def get_requires_for_build_wheel(self, config_settings=None):
        return []

    def prepare_metadata_for_build_wheel(self, directory, config_settings=None):
        name = "{package}-{release}.dist-info"
        os.mkdir(os.path.join(directory, name))
        with open(os.path.join(directory, name, "METADATA"), "w") as file:
            file.write("Metadata-Version: 2.1\\nName: {package}\\nVersion: {release}\\n")
        return name

__legacy__ = Backend()
get_requires_for_build_wheel = __legacy__.get_requires_for_build_wheel
prepare_metadata_for_build_wheel = __legacy__.prepare_metadata_for_build_wheel
if "buildhack" in sys.modules:  # pkgconf's own, which is being imported
    sys.modules["buildhack"].prepare_metadata_for_build_wheel = prepare_metadata_for_build_wheel
"""
_STAND_INS = {
    "setuptools/__init__.py": "",
    "setuptools/build_meta.py": _BACKEND,
    "mesonpy.py": _BACKEND,
    "wheel/__init__.py": "",
    "wheel/wheelfile.py": "",
}


def unpack_zstd(target: Path) -> None:
    """Fill a directory with zstd's C sources and headers, below `zstd/`."""
    with tarfile.open(fetched(_ZSTD)) as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts[1:]  # the first names the release
            if not member.isfile() or parts[:1] != ("zstd",) or not parts[-1].endswith((".c", ".h")):
                continue
            if ".." in parts or (len(parts) > 2 and parts[1] not in _FOLDERS):
                continue
            path = target.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            content = archive.extractfile(member)
            assert content is not None
            path.write_bytes(content.read())


def unpack_lua(target: Path) -> None:
    """Fill a directory with the sources of lua 5.4 and its hand-written makefile."""
    _unpack(_LUA, "third-party/lua54", target, skip=(".git",), depth=1)


def unpack_blosc2(target: Path) -> None:
    """Fill a directory with c-blosc2 2.15.2: its sources, those of the codecs in it, and CMakeLists."""
    _unpack(_BLOSC2, "blosc2/c-blosc2", target)


def unpack_pkgconf(target: Path) -> None:
    """Fill a directory with pkgconf 2.5.1 and its meson.build."""
    _unpack(_PKGCONF, "subprojects/pkgconf", target)


def _unpack(
    sdist: Sdist, folder: str, target: Path, *, skip: tuple[str, ...] = (), depth: int | None = None
) -> None:
    """The files below a folder of an sdist, down to a depth."""
    above = PurePosixPath(folder).parts
    with tarfile.open(fetched(sdist)) as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts[1:]
            inner = parts[len(above) :]
            if not member.isfile() or parts[: len(above)] != above or {"..", *skip} & set(parts):
                continue
            if depth is not None and len(inner) > depth:
                continue
            content = archive.extractfile(member)
            assert content is not None
            path = target.joinpath(*inner)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
            path.chmod(member.mode & 0o777 | 0o600)


def fetched(sdist: Sdist) -> Path:
    """The verified sdist: downloaded once per user, or the one in $VCACHE_TEST_SOURCES."""
    place = os.environ.get("VCACHE_TEST_SOURCES")
    directory = Path(place or f"{tempfile.gettempdir()}/vcache-test-sources-{os.getuid()}")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / sdist.name
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of one test run download it once
        if not _is_whole(path, sdist):
            _download(path, sdist)
    return path


def _is_whole(path: Path, sdist: Sdist) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sdist.sha256


def _download(path: Path, sdist: Sdist) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        stand_in = Path(scratch, "stand-in")
        for name, text in _STAND_INS.items():
            (stand_in / name).parent.mkdir(parents=True, exist_ok=True)
            (stand_in / name).write_text(
                text.replace("{package}", sdist.package).replace("{release}", sdist.release)
            )
        wanted = Path(scratch, "requirements.txt")
        wanted.write_text(f"{sdist.package}=={sdist.release} --hash=sha256:{sdist.sha256}\n")
        command = [
            *_pip(Path(scratch)), "download", "-q", "--no-deps", "--no-binary", sdist.package, "--use-pep517",
            "--no-build-isolation", "--dest", scratch, "-r", os.fspath(wanted),
        ]  # fmt: skip
        environ = {**os.environ, "PYTHONPATH": os.fspath(stand_in)}
        done = subprocess.run(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(
                f"could not download the sdist of {sdist.package} {sdist.release}:\n{done.stdout}\n"
                f"Put {path.name} into a directory and name it in VCACHE_TEST_SOURCES."
            )
        shutil.move(Path(scratch, path.name), path)


def _pip(scratch: Path) -> list[str]:
    """pip of this environment; uv makes environments without one, so then of a fresh one."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    subprocess.run([sys.executable, "-m", "venv", scratch / "venv"], check=True)
    return [os.fspath(scratch / "venv/bin/python"), "-m", "pip"]
