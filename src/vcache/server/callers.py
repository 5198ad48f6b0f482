"""Who asks: the role and the namespace that a token gives. Plain data."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from vcache.kit.data import dataclass
from vcache.server.refused import Refusal, Refused

__all__ = ["NAMESPACE", "NOBODY", "OPEN", "Caller", "Role"]

NAMESPACE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Role(IntEnum):
    """What a token may do, from the least (docs/design/server.md)."""

    NOBODY = 0
    READER = 1
    WRITER = 2
    BUILDER = 3
    ADMIN = 4


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        token: the id of the token, never the secret; empty where the server is open.
        role: what it may do.
        namespace: the only one it sees; empty where the server is open.
        may_write_results: whether it may say what an action's result is.
    """

    token: str
    role: Role
    namespace: str
    may_write_results: bool = True

    @property
    def may_read(self) -> bool:
        """Whether it may get."""
        return self.role >= Role.READER

    @property
    def may_write(self) -> bool:
        """Whether it may put and delete."""
        return self.role >= Role.WRITER

    def require_write(self) -> None:
        """Nothing, if it may put and delete.

        Raises:
            Refused: it may only read, or not even that.
        """
        if not self.may_write:
            raise Refused(Refusal.FORBIDDEN, "this token may only read")


OPEN: Final = Caller("", Role.ADMIN, "")
"""Anybody, on a loopback server without tokens."""

NOBODY: Final = Caller("", Role.NOBODY, "", may_write_results=False)
"""Who says nothing of themselves where tokens are asked for: probes get an answer, values do not."""
