"""Bodies as the tools send them."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Mapping

import zstandard


def tar(members: Mapping[str, bytes], *, mtime: float = 0) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mtime = mtime
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def tar_gz(members: Mapping[str, bytes], *, mtime: float = 0) -> bytes:
    return gzip.compress(tar(members, mtime=mtime), mtime=0)


def tar_zst(members: Mapping[str, bytes]) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(tar(members))


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()
