"""Files of keys and of policies: how they are written, and who may read them."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable
from typing import Final

from vcache.errors import ConfigError, UsageError
from vcache.kit.tables import parse_table
from vcache.store.sealed.statement import producer_name
from vcache.store.sealed.trust import Policy

__all__ = [
    "KEY_BYTES",
    "PolicyFile",
    "private_text",
    "read_policy",
    "read_private",
    "read_secret",
    "secret_text",
    "write_secret",
]

KEY_BYTES: Final = 32
_PRIVATE: Final = "vcache-ed25519-private"
_MAX_KEY_FILE_BYTES: Final = 4096
_MAX_POLICY_BYTES: Final = 16 << 20


def private_text(name: str, private: bytes) -> str:
    """The one line of a file with a private key."""
    return f"{_PRIVATE}:{producer_name(name)}:{base64.b64encode(private).decode()}\n"


def secret_text(key: bytes) -> str:
    """The one line of a file with a key to encrypt with."""
    return base64.b64encode(key).decode() + "\n"


def read_private(path: str) -> tuple[str, bytes]:
    """The producer's name and the private key in a file.

    Raises:
        ConfigError: it cannot be read, others can read it too, or it holds something else.
    """
    scheme, _, rest = _read_secretly(path).partition(":")
    name, _, text = rest.partition(":")
    key = _key(text)
    if scheme != _PRIVATE or key is None:
        raise ConfigError(f"{path}: holds no private key: make one with `vcache trust new NAME --out FILE`")
    try:
        return producer_name(name), key
    except UsageError as error:
        raise ConfigError(f"{path}: {error}") from None


def read_secret(path: str) -> bytes:
    """The key to encrypt with in a file.

    Raises:
        ConfigError: it cannot be read, others can read it too, or it holds something else.
    """
    key = _key(_read_secretly(path))
    if key is None:
        raise ConfigError(
            f"{path}: holds no key of {KEY_BYTES} bytes in base64: make one with "
            "`vcache trust encrypt-key --out FILE`"
        )
    return key


def write_secret(path: str, text: str) -> None:
    """A new file that only its owner can read.

    Raises:
        ConfigError: there is a file already, or it cannot be made.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigError(
            f"{path}: is there already; a key is never overwritten: give another name"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    with os.fdopen(handle, "w") as file:
        os.fchmod(handle, 0o600)  # whatever the umask took away
        file.write(text)
        file.flush()
        os.fsync(handle)


def read_policy(path: str) -> Policy:
    """The policy in a file.

    Raises:
        ConfigError: it cannot be read, or is none.
    """
    try:
        table = parse_table(_read(path, _MAX_POLICY_BYTES), ".toml")
    except UsageError as error:
        raise ConfigError(f"{path}: {error}" if not isinstance(error, ConfigError) else str(error)) from None
    return Policy.parse(table, path)


class PolicyFile:
    """The policy in a file, as it stands: a key revoked while a build watches files is revoked for it.

    Raises:
        ConfigError: it cannot be read, or is none.
    """

    __slots__ = ("_path", "_policy", "_seen")

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # the process may change its directory
        self._seen = self._signature()
        self._policy = read_policy(self._path)

    def __call__(self) -> Policy:
        """The policy.

        Raises:
            ConfigError: the file was changed to something that is none, or is gone.
        """
        seen = self._signature()
        if seen != self._seen:
            self._policy = read_policy(self._path)
            self._seen = seen
        return self._policy

    def _signature(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _key(text: str) -> bytes | None:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES and base64.b64encode(key).decode() == text else None


def _read_secretly(path: str) -> str:
    return _read(path, _MAX_KEY_FILE_BYTES, check=_require_private).strip()


def _require_private(path: str, mode: int) -> None:
    if mode & 0o027:  # a group may read: orchestrators hand secrets out so
        raise ConfigError(
            f"{path}: holds a secret that others can read or change (mode {stat.S_IMODE(mode):04o}): "
            f"chmod 600 {path}"
        )


def _read(path: str, max_bytes: int, *, check: Callable[[str, int], None] | None = None) -> str:
    """The text of a file, whose mode is asked of the file that was opened."""
    try:
        with open(path, "rb") as file:
            if check is not None:
                check(path, os.fstat(file.fileno()).st_mode)
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > max_bytes:
        raise ConfigError(f"{path}: is longer than {max_bytes} bytes: it is something else")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text") from None
