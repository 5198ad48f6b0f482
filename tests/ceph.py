"""A real S3 server for tests: one monitor, one object store in memory and the RADOS Gateway of Ceph.

Debian has them in the packages radosgw, ceph-mon, ceph-osd and ceph-common. It takes 13 s to start.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers import S3Server, free_port, needed, running

__all__ = ["ceph_gateway"]

_PACKAGES = "radosgw ceph-mon ceph-osd ceph-common"
# The gateway insists on cephx, and makes pools of its own; the monitor on 5 % of free disk and on three
# copies, unless it is told. With the hundreds of threads that it has for servers of many cores it takes
# twice the time on two; so does its log of all that it did lately.
_CONF = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {d}/keyring
run dir = {d}
admin socket = {d}/$name.asok
log file = {d}/$name.log
mon data = {d}/mon
mon data avail warn = 2
mon data avail crit = 1
mon allow pool size one = true
mon max pg per osd = 2000
mon warn on pool no redundancy = false
osd data = {d}/osd
osd objectstore = memstore
memstore device bytes = {most_bytes}
osd max object name len = 256
osd max object namespace len = 64
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
ms async op threads = 1
ms crc data = false
cephx sign messages = false
osd op num shards = 1
osd op num threads per shard = 1
debug ms = 0/0
debug objecter = 0/0
debug osd = 0/0
debug rgw = 0/0
[client.admin]
rgw data = {d}
rgw frontends = beast endpoint=127.0.0.1:{s3} tcp_nodelay=1
rgw run sync thread = false
rgw thread pool size = 2
"""
_SECRET = "not-a-secret-but-a-test"


@contextmanager
def ceph_gateway(*, most_bytes: int = 4 << 30) -> Iterator[S3Server]:
    """An empty gateway with one user."""
    with ExitStack() as stack:
        # Sockets lie in it: a path of pytest's would be too long for them.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ceph-")))
        v1, v2, s3 = (free_port() for _ in range(3))
        fsid = str(uuid.uuid4())
        conf = directory / "ceph.conf"
        conf.write_text(_CONF.format(fsid=fsid, v1=v1, v2=v2, s3=s3, d=directory, most_bytes=most_bytes))
        do = _Doer(directory, conf)
        do.make_keys()
        do("monmaptool", "--create", "--addv", "a", f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]", "--fsid", fsid,
           directory / "monmap")  # fmt: skip
        do("ceph-mon", "--mkfs", "-i", "a", "--monmap", directory / "monmap", "--keyring", do.keyring)
        stack.enter_context(do.daemon("ceph-mon", "-i", "a", port=v2))
        osd = str(uuid.uuid4())
        do("ceph", "osd", "new", osd)
        do("ceph", "auth", "import", "-i", do.keyring)
        do("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        stack.enter_context(do.daemon("ceph-osd", "-i", "0", port=v2))
        stack.enter_context(do.daemon("radosgw", "-n", "client.admin", port=s3))
        do("radosgw-admin", "-n", "client.admin", "user", "create", "--uid=tester", "--display-name=tester",
           "--access-key=TESTER", f"--secret-key={_SECRET}")  # fmt: skip
        yield S3Server(f"http://127.0.0.1:{s3}", "TESTER", _SECRET)


class _Doer:
    """Runs programs of Ceph with one configuration."""

    def __init__(self, directory: Path, conf: Path) -> None:
        self._directory = directory
        self._env = {**os.environ, "CEPH_CONF": str(conf)}
        self.keyring = directory / "keyring"
        for name in ("mon", "osd"):
            (directory / name).mkdir()

    def __call__(self, program: str, *arguments: str | Path) -> None:
        command = [needed(program, _PACKAGES), *arguments]
        done = subprocess.run(
            command, env=self._env, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=120
        )
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace")[-2000:]
            raise RuntimeError(f"{program} {arguments} ended with status {done.returncode}: {said}")

    def make_keys(self) -> None:
        """The monitor's key, that of who administers everything, and the object store's."""
        everything = [word for part in ("mon", "osd", "mds", "mgr") for word in ("--cap", part, "allow *")]
        keys = {
            "mon.": ["--cap", "mon", "allow *"],
            "client.admin": everything,
            "osd.0": ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"],
        }
        for number, (name, caps) in enumerate(keys.items()):
            first = ["--create-keyring"] if number == 0 else []
            self("ceph-authtool", *first, self.keyring, "--gen-key", "-n", name, *caps)

    @contextmanager
    def daemon(self, program: str, *arguments: str, port: int) -> Iterator[None]:
        """A program that runs until the end, and listens at a port."""
        log = self._directory / f"{program}.out"
        command = [needed(program, _PACKAGES), "-f", *arguments]
        with running(command, port, log=log, env=self._env):
            yield
