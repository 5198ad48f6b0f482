"""Records as objects of an HTTP server: vcache's own, WebDAV, or any that takes PUT and GET."""
