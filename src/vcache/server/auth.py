"""Who sends a request: from its `Authorization` to a caller.

It knows tokens, and nothing of paths or dialects.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final

from vcache.server.callers import NOBODY, OPEN, Caller, Role
from vcache.server.refused import Refusal, Refused
from vcache.server.tokens import Token, signing_secret, split_token

__all__ = ["Authenticator"]

_MOST_KNOWN: Final = 4096
_AUTHORIZATION: Final = b"authorization"
_SIGNED: Final = b"AWS4-HMAC-SHA256 "  # whoever speaks S3 looks at the whole request, by `signer`


class Authenticator:
    """Says who asks; called once a request.

    Args:
        tokens: by id; None where the server is open to everybody who reaches it.
        master: the key of signing secrets.
        builders_only: namespaces whose results only builders write.
        clock: UTC epoch nanoseconds.

    Threads: all operations.
    """

    def __init__(
        self,
        tokens: Mapping[str, Token] | None,
        *,
        master: bytes = b"",
        builders_only: frozenset[str] = frozenset(),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._clock = clock
        self._master = master
        self.reload(tokens, builders_only=builders_only)

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything."""
        return self._tokens is None

    def reload(self, tokens: Mapping[str, Token] | None, *, builders_only: frozenset[str]) -> None:
        """Let other tokens hold from the next request on."""
        self._tokens = None if tokens is None else dict(tokens)
        self._builders_only = builders_only
        # Headers that were checked: hashing a secret again costs more than all the rest.
        self._known: dict[bytes, Token] = {}

    def __call__(self, scope: MutableMapping[str, Any]) -> Caller:
        """Who sends an ASGI request; `NOBODY` where it does not say.

        Raises:
            Refused: a token that is unknown, wrong, expired or revoked.
        """
        if self._tokens is None:
            return OPEN
        for name, value in scope["headers"]:
            if name == _AUTHORIZATION and not value.startswith(_SIGNED):
                return self.of_header(value)
        return NOBODY

    def of_header(self, header: bytes) -> Caller:
        """Who sends an `Authorization` with this value: `Bearer TOKEN`, or `Basic` with it as password.

        Raises:
            Refused: as above, or it is neither.
        """
        if self._tokens is None:
            return OPEN
        # Held on to from before the check: what was checked by tokens that a reload has replaced
        # meanwhile must not become known among those that hold from then on.
        known = self._known
        token = known.get(header)
        if token is None:
            token = self._checked(_text_of(header))
            if len(known) >= _MOST_KNOWN:
                known.clear()
            known[header] = token
        return self._caller(token)

    def signer(self, token_id: str) -> tuple[str, Caller] | None:
        """The secret with which a token's holder signs, and who that is; None for no valid token."""
        if self._tokens is None:
            return None
        token = self._tokens.get(token_id)
        if token is None or not self._master or not token.is_valid(self._clock()):
            return None
        return signing_secret(self._master, token_id), self._caller(token)

    def _checked(self, text: str) -> Token:
        assert self._tokens is not None
        parts = split_token(text)
        token = None if parts is None else self._tokens.get(parts[0])
        if parts is None or token is None or not token.matches(parts[1]):
            raise Refused(Refusal.UNAUTHENTICATED, "the token is not known here")
        return token

    def _caller(self, token: Token) -> Caller:
        if not token.is_valid(self._clock()):
            how = "was revoked" if token.revoked_ns else "has expired"
            raise Refused(Refusal.UNAUTHENTICATED, f"the token {token.id} {how}")
        may = token.role >= Role.BUILDER or (
            token.role >= Role.WRITER and token.namespace not in self._builders_only
        )
        return token.caller(may_write_results=may)


def _text_of(header: bytes) -> str:
    """The token in an `Authorization`."""
    kind, _, rest = header.strip().partition(b" ")
    rest = rest.strip()
    try:
        if kind.lower() == b"bearer":
            return rest.decode("ascii")
        if kind.lower() == b"basic":
            user_and_password = base64.b64decode(rest, validate=True).decode()
            return user_and_password.partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise Refused(
        Refusal.UNAUTHENTICATED, "Authorization is neither 'Bearer TOKEN' nor Basic with it as password"
    )
