"""Tokens: who may ask for what, kept as hashes in one file.

The server and `vcache token` share the file: it is replaced as a whole under a lock, and the
server reads it again when told to. What a token may do is docs/design/server.md's.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from vcache.errors import ConfigError, UsageError
from vcache.hash import digest
from vcache.kit.data import dataclass, replace
from vcache.kit.fs_atomic import LockFile, write_atomic
from vcache.server.callers import NAMESPACE, Caller, Role

__all__ = ["Token", "TokenFile", "signing_secret", "split_token"]

_VERSION: Final = 1
_START: Final = "vct_"
_ID_BYTES: Final = 10
_SECRET_BYTES: Final = 32
_LOCK_S: Final = 10.0
_MASTER_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Token:
    """A row of the file.

    Attributes:
        id: what finds it; no secret.
        hash: BLAKE3 of the secret, in hexadecimal. The secret has 256 random bits: no salt, no
            slow hash could make it harder to guess.
        role: what it may do.
        namespace: the only one it sees.
        created_ns, expires_ns, revoked_ns: UTC epoch nanoseconds; 0 for never.
        note: a word for people.
    """

    id: str
    hash: str
    role: Role
    namespace: str
    created_ns: int
    expires_ns: int = 0
    revoked_ns: int = 0
    note: str = ""

    def is_valid(self, now_ns: int) -> bool:
        """Whether it holds at a time."""
        return not self.revoked_ns and (not self.expires_ns or now_ns < self.expires_ns)

    def caller(self, *, may_write_results: bool) -> Caller:
        """Who asks with it."""
        return Caller(self.id, self.role, self.namespace, may_write_results)

    def matches(self, secret: str) -> bool:
        """Whether a secret is its own, in a time that says nothing of where it differs."""
        return hmac.compare_digest(digest(secret.encode()).hex(), self.hash)


def split_token(text: str) -> tuple[str, str] | None:
    """The id and the secret of a token; None for what is none."""
    if not text.startswith(_START):
        return None
    token_id, underscore, secret = text.removeprefix(_START).partition("_")
    return (token_id, secret) if underscore and token_id and secret else None


def signing_secret(master: bytes, token_id: str) -> str:
    """The secret with which a token's holder signs S3 requests.

    It is derived, since a hash of the token's own secret could not verify a signature.
    """
    return base64.urlsafe_b64encode(hmac.digest(master, token_id.encode(), "sha256")).decode().rstrip("=")


class TokenFile:
    """The tokens of one server.

    Args:
        path: the file; it need not be there yet.
        clock: UTC epoch nanoseconds.
    """

    def __init__(self, path: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self._clock = clock

    def rows(self) -> dict[str, Token]:
        """All tokens by id.

        Raises:
            ConfigError: the file is damaged, of another version, or open to other users.
        """
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o022:
                    raise ConfigError(f"{self.path}: other users may write to it: chmod 600 {self.path}")
                data = json.load(file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.path}: cannot be read as tokens: {error}") from error
        if not isinstance(data, dict) or data.get("version") != _VERSION:
            version = data.get("version") if isinstance(data, dict) else None
            raise ConfigError(f"{self.path}: version {version!r} is not {_VERSION}")
        try:
            tokens = [_token(row) for row in data["tokens"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{self.path}: a row is no token: {error!r}") from error
        return {token.id: token for token in tokens}

    def add(self, role: Role, namespace: str, *, expires_ns: int = 0, note: str = "") -> tuple[Token, str]:
        """A new token, and the text to give to its holder: it is not kept.

        Raises:
            UsageError: a namespace that is none.
            ConfigError: as `rows`.
        """
        if not NAMESPACE.fullmatch(namespace):
            raise UsageError(
                f"namespace {namespace!r}: write lower-case letters, digits, '.', '_' or '-', at most 64, "
                "with a letter or digit first"
            )
        token_id = base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode().lower()
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        token = Token(
            token_id, digest(secret.encode()).hex(), role, namespace, self._clock(), expires_ns, note=note
        )
        with self._locked():
            self._write([*self.rows().values(), token])
        return token, f"{_START}{token_id}_{secret}"

    def revoke(self, token_id: str) -> Token:
        """Make a token worthless for good; one that is, stays so.

        Raises:
            UsageError: there is no such token.
            ConfigError: as `rows`.
        """
        with self._locked():
            rows = self.rows()
            if token_id not in rows:
                raise UsageError(f"no token has the id {token_id!r} in {self.path}")
            token = rows[token_id]
            if not token.revoked_ns:
                token = rows[token_id] = replace(token, revoked_ns=self._clock())
                self._write(rows.values())
        return token

    def master(self) -> bytes:
        """The key from which signing secrets are derived, made when it is first asked for.

        Raises:
            ConfigError: its file is damaged, or open to other users.
        """
        path = self.path.with_suffix(".key")
        with self._locked():
            if not path.exists():
                write_atomic(path, secrets.token_bytes(_MASTER_BYTES), mode=0o600, durable=True)
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise ConfigError(f"{path}: other users may read it: chmod 600 {path}")
                key = file.read()
        if len(key) != _MASTER_BYTES:
            raise ConfigError(f"{path}: holds {len(key)} bytes, not {_MASTER_BYTES}")
        return key

    def _locked(self) -> AbstractContextManager[LockFile]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return LockFile(self.path.with_suffix(".lock")).held(_LOCK_S)

    def _write(self, tokens: Iterable[Token]) -> None:
        rows = [_row(token) for token in tokens]
        text = json.dumps({"version": _VERSION, "tokens": rows}, indent=1)
        write_atomic(self.path, text.encode(), mode=0o600, durable=True)


def _row(token: Token) -> dict[str, object]:
    row: dict[str, object] = {
        "id": token.id,
        "hash": token.hash,
        "role": token.role.name.lower(),
        "namespace": token.namespace,
        "created_ns": token.created_ns,
    }
    optional = {"expires_ns": token.expires_ns, "revoked_ns": token.revoked_ns, "note": token.note}
    return row | {name: value for name, value in optional.items() if value}


def _token(row: Mapping[str, object]) -> Token:
    namespace, role = str(row["namespace"]), str(row["role"]).upper()
    if not NAMESPACE.fullmatch(namespace) or role not in Role.__members__:
        raise ValueError(f"namespace {namespace!r}, role {role!r}")
    times = [row.get(name, 0) for name in ("created_ns", "expires_ns", "revoked_ns")]
    if not all(isinstance(time_ns, int) for time_ns in times):
        raise ValueError(f"times {times!r}")
    created, expires, revoked = (int(str(time_ns)) for time_ns in times)
    return Token(
        str(row["id"]),
        str(row["hash"]),
        Role[role],
        namespace,
        created,
        expires,
        revoked,
        str(row.get("note", "")),
    )
