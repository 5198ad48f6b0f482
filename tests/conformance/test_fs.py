"""The fsspec tier against the suite that is shipped: a directory, this process's memory, a server of SFTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import ClassVar
from uuid import uuid4

import pytest

from tests.conformance.at_address import AtAddress
from tests.servers import SftpServer, sftp_server
from vcache.testing import BatchesTests, PersistentTests, PresenceTests, StoreTests


class OnFiles(AtAddress, StoreTests, BatchesTests, PresenceTests):
    """What is the same for every file system. The class provides a fixture `address`."""


class Lasting(OnFiles, PersistentTests):
    """A file system that outlives the process."""


class TestMemory(OnFiles):
    @pytest.fixture
    def address(self) -> str:
        return f"fs+memory://{uuid4().hex}/cache"


class TestLocal(Lasting):
    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return f"fs+file://{tmp_path}/a [b] *c/cache"


class OverSsh(Lasting):
    """A server of SFTP. fsspec takes sshfs for it where that is installed, else paramiko."""

    kind: ClassVar[str]
    options: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
        with sftp_server(tmp_path_factory.mktemp("sftp")) as server:
            yield server

    @pytest.fixture
    def address(self, server: SftpServer, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setenv("SFTP_PASSWORD", server.password)
        monkeypatch.setattr("fsspec.get_filesystem_class", lambda _: resolve_name(self.kind))
        place = f"{server.user}@127.0.0.1:{server.port}/{uuid4().hex}/cache"
        return f"fs+sftp://{place}?password_env=SFTP_PASSWORD&unknown_hosts=1&{self.options}"


class TestParamiko(OverSsh):
    kind = "fsspec.implementations.sftp:SFTPFileSystem"
    options = "look_for_keys=false&allow_agent=false"


@pytest.mark.slow
class TestSshfs(OverSsh):
    kind = "sshfs:SSHFileSystem"
    options = "max_sessions=8"
