"""The helper's words, by a client that speaks them byte by byte."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vcache.bridges import crsh

KEY = bytes(range(20))


class Client:
    """What ccache would send."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(os.fspath(path))
        self.answers = self.socket.makefile("rb")
        self.greeting = self.answers.read(5)

    def ask(self, data: bytes, size: int) -> bytes:
        self.socket.sendall(data)
        return self.answers.read(size)

    def put(self, key: bytes, value: bytes, *, overwrite: bool = False) -> bytes:
        return self.ask(b"\1" + text(key) + bytes((overwrite,)) + struct.pack("=Q", len(value)) + value, 1)

    def get(self, key: bytes) -> bytes | None:
        status = self.ask(b"\0" + text(key), 1)
        if status == b"\1":
            return None
        assert status == b"\0"
        (size,) = struct.unpack("=Q", self.answers.read(8))
        return self.answers.read(size)

    def close(self) -> None:
        self.answers.close()
        self.socket.close()


def text(data: bytes) -> bytes:
    return bytes((len(data),)) + data


class Desk:
    def __init__(self, path: Path, url: str, *, idle_s: float = 0) -> None:
        self.path = path / "s"
        self.listener = crsh._bound(os.fspath(self.path))
        self.helper = crsh.Helper(url, {})
        self.thread = threading.Thread(
            target=self.helper.serve, args=(self.listener,), kwargs={"idle_s": idle_s}
        )
        self.thread.start()
        self.clients: list[Client] = []

    def client(self) -> Client:
        self.clients.append(Client(self.path))
        return self.clients[-1]

    def end(self) -> None:
        if self.thread.is_alive():
            self.client().socket.sendall(b"\3")
            self.thread.join(20)
        for client in self.clients:
            client.close()
        assert not self.thread.is_alive()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = Desk(tmp_path, f"vcache:{tmp_path}/store")
    yield found
    found.end()


@pytest.mark.parametrize("size", [0, 1, 5000, 3 << 20])
def test_a_value_comes_back(desk: Desk, size: int) -> None:
    """Put, get, exists and remove, of every size; a second client sees it as well."""
    value = os.urandom(size)
    client = desk.client()
    assert client.greeting == bytes((1, 3, 0, 1, 2))
    assert client.get(KEY) is None
    assert client.ask(b"\5" + text(KEY), 2) == b"\0\0"
    assert client.put(KEY, value) == b"\0"
    assert desk.client().get(KEY) == value
    assert client.ask(b"\5" + text(KEY), 2) == b"\0\1"
    assert client.ask(b"\2" + text(KEY), 1) == b"\0"
    assert client.ask(b"\2" + text(KEY), 1) == b"\1"
    assert client.get(KEY) is None


def test_what_is_there_is_kept_unless_told_otherwise(desk: Desk) -> None:
    """A put without the flag leaves the older value."""
    client = desk.client()
    client.put(KEY, b"old")
    assert client.put(KEY, b"new") == b"\1"
    assert client.get(KEY) == b"old"
    assert client.put(KEY, b"new", overwrite=True) == b"\0"
    assert client.get(KEY) == b"new"


def test_who_it_is_stands_without_a_status(desk: Desk) -> None:
    """`info` names the helper and its address."""
    client = desk.client()
    (size,) = client.ask(b"\4", 1)
    assert client.answers.read(size).startswith(b"vcache vcache:")
    assert client.answers.read(1) == b"\0"
    assert client.get(KEY) is None


@pytest.mark.parametrize(
    "data", [b"\x09", b"\1" + text(KEY) + b"\0" + struct.pack("=Q", 1 << 40), b"\0\x14abc", b"\xff" * 100]
)
def test_garbage_ends_its_connection_and_no_other(desk: Desk, data: bytes) -> None:
    """Who speaks another protocol is left alone; everybody else goes on."""
    good, bad = desk.client(), desk.client()
    bad.socket.sendall(data)
    bad.socket.shutdown(socket.SHUT_WR)
    assert bad.answers.read(1) == b""
    assert good.put(KEY, b"x") == b"\0"


def test_a_store_that_cannot_be_opened_is_an_error_each_time(tmp_path: Path) -> None:
    """ccache is told why, and `info` says it too."""
    desk = Desk(tmp_path, "vcache://host/x")
    try:
        client = desk.client()
        for _ in range(2):
            assert client.ask(b"\0" + text(KEY), 1) == b"\2"
            (size,) = client.answers.read(1)
            assert b"names a host" in client.answers.read(size)
    finally:
        desk.end()


def test_an_idle_helper_ends(tmp_path: Path) -> None:
    """With nobody to serve it goes, and not before."""
    desk = Desk(tmp_path, f"vcache:{tmp_path}/store", idle_s=0.6)
    client = desk.client()
    client.put(KEY, b"x")
    assert desk.thread.is_alive()
    client.close()
    desk.clients.clear()
    desk.thread.join(20)
    assert not desk.thread.is_alive()


def test_the_socket_is_its_owners(tmp_path: Path) -> None:
    """Other users cannot reach it, and two helpers cannot have one."""
    listener = crsh._bound(os.fspath(tmp_path / "s"))
    assert (tmp_path / "s").stat().st_mode & 0o077 == 0
    with pytest.raises(SystemExit, match="another helper"):
        crsh._bound(os.fspath(tmp_path / "s"))
    listener.close()
    # What a killed helper leaves behind is taken over: ccache would wait there for ten seconds each time.
    crsh._bound(os.fspath(tmp_path / "s")).close()
