"""What a REAPI store says of itself, for who has not loaded gRPC."""

from __future__ import annotations

from vcache.store.base import StoreInfo

__all__ = ["info_of"]


def info_of(url: str) -> StoreInfo:
    """What a store at an address without secrets says of itself."""
    return StoreInfo(
        "reapi",
        url,
        is_shared=True,
        is_trusted=False,
        is_persistent=True,
        is_listed=False,
        keeps_time=True,
    )
