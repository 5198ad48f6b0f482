"""The local disk store: append-only segments, a mapped index, and files for large blobs."""

from vcache.store.disk.store import DiskStore

__all__ = ["DiskStore"]
