"""Addresses as they may be shown: without what lets somebody in."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["without_secrets"]

_SECRETS: Final = (
    r"(//[^/?#:@\s]*:)[^/?#\s]*(@)"  # a password behind a user
    r"|([?&](?:\w*(?:token|password|secret|auth)\w*)=)[^&\s]*"
)


def without_secrets(address: str) -> str:
    """An address without its password, and without the values of options that name a secret."""
    return re.sub(_SECRETS, _hidden, address, flags=re.IGNORECASE)


def _hidden(found: re.Match[str]) -> str:
    return f"{found[1] or found[3]}…{found[2] or ''}"
