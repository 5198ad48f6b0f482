from __future__ import annotations

import os
from pathlib import Path

import pytest

from vcache.errors import ConfigError
from vcache.store.sealed.crypto import Signer
from vcache.store.sealed.keys import (
    PolicyFile,
    private_text,
    read_policy,
    read_private,
    read_secret,
    secret_text,
    write_secret,
)
from vcache.store.sealed.trust import public_text

POLICY = f'[keys.ci]\npublic = "{public_text(Signer(b"1" * 32).public)}"\nnamespaces = ["*"]\n'


def file_of(directory: Path, text: str | bytes, mode: int = 0o600) -> str:
    path = directory / "file"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return str(path)


def test_keys_come_back(tmp_path: Path) -> None:
    """What is written is read, with the name."""
    write_secret(str(tmp_path / "private"), private_text("ci", b"1" * 32))
    write_secret(str(tmp_path / "secret"), secret_text(b"2" * 32))
    assert read_private(str(tmp_path / "private")) == ("ci", b"1" * 32)
    assert read_secret(str(tmp_path / "secret")) == b"2" * 32


def test_a_new_key_is_its_owners_whatever_the_umask(tmp_path: Path) -> None:
    """0600, from the moment that it is there."""
    before = os.umask(0)
    try:
        write_secret(str(tmp_path / "open"), "x")
        os.umask(0o777)
        write_secret(str(tmp_path / "shut"), "x")
    finally:
        os.umask(before)
    for name in ("open", "shut"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten_or_written_through_a_link(tmp_path: Path) -> None:
    """A key that is lost is lost for good: the old file stays."""
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    for name in ("target", "link", "dangling"):
        with pytest.raises(ConfigError, match="is there already"):
            write_secret(str(tmp_path / name), "new")
    assert (tmp_path / "target").read_text() == "old"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o620, 0o644, 0o777])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The remedy is in the message."""
    for read, text in ((read_private, private_text("ci", b"1" * 32)), (read_secret, secret_text(b"1" * 32))):
        path = file_of(tmp_path, text, mode)
        with pytest.raises(ConfigError, match=f"mode 0{mode:o}.*chmod 600"):
            read(path)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o440])
def test_a_secret_of_the_owner_or_a_group_is_read(tmp_path: Path, mode: int) -> None:
    """Orchestrators mount secrets readable by a group."""
    assert read_secret(file_of(tmp_path, secret_text(b"1" * 32), mode)) == b"1" * 32


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vcache-ed25519-private:ci:",
        "vcache-ed25519-private:ci:AAAA",
        private_text("ci", b"1" * 31),
        private_text("ci", b"1" * 33),
        private_text("ci", b"1" * 32) * 2,
        private_text("ci", b"1" * 32).replace("private", "public"),
        private_text("ci", b"1" * 32).replace("=", ""),
        secret_text(b"1" * 32),
        "-----BEGIN OPENSSH PRIVATE KEY-----\n",
    ],
)
def test_what_is_no_private_key_is_refused(tmp_path: Path, text: str) -> None:
    """The file and the remedy; never what is in it."""
    with pytest.raises(ConfigError, match="holds no private key: make one with") as caught:
        read_private(file_of(tmp_path, text))
    assert "MTEx" not in str(caught.value)


def test_other_files_are_refused_in_words(tmp_path: Path) -> None:
    """Absent, a directory, too long, not text, a name that is none."""
    with pytest.raises(ConfigError, match="No such file"):
        read_private(str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="Is a directory"):
        read_policy(str(tmp_path))
    with pytest.raises(ConfigError, match="is longer than 4096 bytes"):
        read_secret(file_of(tmp_path, "A" * 5000))
    with pytest.raises(ConfigError, match="is not text"):
        read_secret(file_of(tmp_path, b"\xff\xfe"))
    with pytest.raises(ConfigError, match="is not a producer's name"):
        read_private(file_of(tmp_path, private_text("ci", b"1" * 32).replace(":ci:", ":c i:")))
    with pytest.raises(ConfigError, match="holds no key of 32 bytes"):
        read_secret(file_of(tmp_path, "AAAA"))


def test_a_changed_policy_holds_at_once(tmp_path: Path) -> None:
    """A key that is revoked while a process runs is revoked for it; a broken file is said."""
    path = file_of(tmp_path, POLICY)
    policy = PolicyFile(path)
    first = policy()
    assert policy() is first
    file_of(tmp_path, POLICY + "revoked = true\n")
    assert policy().producers["ci"].is_revoked
    file_of(tmp_path, "keys = ")
    for _ in range(2):
        with pytest.raises(ConfigError, match="not TOML"):
            policy()
    file_of(tmp_path, POLICY)
    assert not policy().producers["ci"].is_revoked
    os.unlink(path)
    with pytest.raises(ConfigError, match="No such file"):
        policy()


def test_a_policy_is_found_from_another_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative name is of the directory in which the tier was opened."""
    file_of(tmp_path, POLICY)
    monkeypatch.chdir(tmp_path)
    policy = PolicyFile("file")
    monkeypatch.chdir("/")
    file_of(tmp_path, POLICY + "revoked = true\n")
    assert policy().producers["ci"].is_revoked
