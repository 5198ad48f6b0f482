"""Why a request is not done, before anybody has put it in the words of a dialect."""

from __future__ import annotations

import errno
from enum import Enum
from typing import Final

from vcache.errors import StoreBusy, StoreFull, VcacheError

__all__ = ["Refusal", "Refused", "refusal_of"]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class Refusal(Enum):
    """The kinds of refusals, and the plain HTTP status of each."""

    MALFORMED = 400  # not what it claims to be: framing, digest, name
    UNAUTHENTICATED = 401  # no token, or one that is wrong, expired or revoked
    FORBIDDEN = 403  # a token without that right
    ABSENT = 404
    METHOD = 405
    CONFLICT = 409
    LENGTH_REQUIRED = 411
    PRECONDITION = 412
    TOO_LARGE = 413
    MEDIA = 415  # a type or coding that is not known
    RANGE = 416
    CROWDED = 429  # too many at once: the same may go through a moment later
    BUSY = 503  # for a while: shutting down, a lock that was not had, a query beyond its deadline
    BROKEN = 500  # ours: the store fails
    FULL = 507  # no room on the disk or in the quota


class Refused(VcacheError):
    """A request that is not done.

    Attributes:
        kind: which refusal it is.
    """

    def __init__(self, kind: Refusal, words: str) -> None:
        super().__init__(words)
        self.kind = kind


def refusal_of(error: Exception) -> Refused:
    """What an error is to whoever asked: itself, a fault of the store in words, or a bug of ours without them."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, StoreFull) or (isinstance(error, OSError) and error.errno in _FULL):
        return Refused(Refusal.FULL, str(error))
    if isinstance(error, StoreBusy):
        return Refused(Refusal.BUSY, str(error))
    if isinstance(error, VcacheError | OSError):
        return Refused(Refusal.BROKEN, f"{type(error).__name__}: {error}")
    return Refused(Refusal.BROKEN, "an error of the server, which its log tells of")
