"""Records that are signed, trusted by signature, and encrypted, whichever store keeps them.

The formats and the rules are normative in docs/design/network.md, "Sealed records".
"""

from __future__ import annotations

from vcache.store.sealed.opening import sealing
from vcache.store.sealed.store import SealedStore

__all__ = ["SealedStore", "sealing"]
