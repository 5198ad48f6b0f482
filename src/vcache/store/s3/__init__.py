"""Records as objects of a bucket of S3, or of a server that speaks its protocol."""

from vcache.store.s3.store import S3Store, open_url

__all__ = ["S3Store", "open_url"]
