"""The fsspec tier over SSH, with either library that fsspec may take: forks, servers that go, hosts that lie."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

from tests.servers import sftp_server
from vcache.errors import StoreError, StoreUnavailable
from vcache.store.address import Options, parse_url
from vcache.store.fs import FsStore, open_url
from vcache.testing.records import named

KEY, RECORD = named("key")
KINDS = {
    "fsspec.implementations.sftp:SFTPFileSystem": "look_for_keys=false&allow_agent=false",
    "sshfs:SSHFileSystem": "max_sessions=8",
}


@pytest.fixture(params=KINDS)
def options(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The options of an address for one of the libraries, in a home where no host is known."""
    monkeypatch.setattr("fsspec.get_filesystem_class", lambda _: resolve_name(request.param))
    monkeypatch.setenv("SFTP_PASSWORD", "right")
    monkeypatch.setenv("HOME", str(tmp_path))
    return f"password_env=SFTP_PASSWORD&{KINDS[request.param]}"


def opened(port: int, options: str) -> FsStore:
    url = parse_url(f"fs+sftp://tester@127.0.0.1:{port}/cache?{options}")
    return open_url(url, Options(url))


def test_a_connection_ends_and_another_one_is_made(options, tmp_path):
    """A forked child has its own; a server that went is unavailable, and found when it is back."""
    with sftp_server(tmp_path) as server:
        store = opened(server.port, f"{options}&unknown_hosts=1")
        store.put(KEY, RECORD)
        assert store.get(KEY) is not None
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if store.get(KEY) is not None else 1)
            except BaseException:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.get(KEY) is not None
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            store.get(KEY)
    with sftp_server(tmp_path, port=server.port):
        assert store.get(KEY) is not None
    store.close()


def test_a_wrong_password_is_said(options, tmp_path, monkeypatch):
    """Trying again does not help; the password is not repeated."""
    monkeypatch.setenv("SFTP_PASSWORD", "hush-hush")
    with sftp_server(tmp_path) as server:
        store = opened(server.port, f"{options}&unknown_hosts=1")
        with pytest.raises(StoreError) as caught:
            store.get(KEY)
        assert not caught.value.retryable
        assert "hush-hush" not in str(caught.value)
        store.close()


def test_only_known_hosts_are_believed(options, tmp_path):
    """A host that is in no list is not told the password; one that is in the user's list is."""
    with sftp_server(tmp_path) as server:
        store = opened(server.port, options)
        with pytest.raises(StoreError) as caught:
            store.put(KEY, RECORD)
        assert not caught.value.retryable
        (tmp_path / ".ssh").mkdir()
        (tmp_path / ".ssh/known_hosts").write_text(key_line(server.port))
        store.put(KEY, RECORD)
        assert store.get(KEY) is not None
        store.close()


def key_line(port: int) -> str:
    """What a user's known_hosts has of a server."""
    code = (
        "import asyncio, asyncssh, sys\n"
        "key = asyncio.run(asyncssh.get_server_host_key('127.0.0.1', int(sys.argv[1])))\n"
        "print(f'[127.0.0.1]:{sys.argv[1]}', key.export_public_key().decode().strip())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(port)], capture_output=True, text=True, check=True)
    return done.stdout
