"""Records in a cache of Bazel's Remote Execution API: `reapi://host:port/instance`."""

from __future__ import annotations

from vcache.store.reapi.opening import open_url, prepare

__all__ = ["open_url", "prepare"]
