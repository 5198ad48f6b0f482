"""Records as files of any file system that fsspec reaches."""

from vcache.store.fs.store import FsStore, open_url

__all__ = ["FsStore", "open_url"]
