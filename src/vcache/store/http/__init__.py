"""Records as objects of an HTTP server: vcache's own, WebDAV, or any that takes PUT and GET."""

from __future__ import annotations

from vcache.store.http.opening import open_url

__all__ = ["open_url"]
