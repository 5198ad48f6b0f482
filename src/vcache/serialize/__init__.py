"""Values ⇄ bytes: codecs, typed msgpack, zero-copy buffers, adaptive compression.

It must not know keys, entries' heads or stores. The sole importer of lz4, zstandard and
msgpack; none of them is loaded before it is needed. No pickle, tarfile or eval runs unless
a caller asks for the codec "pickle".

    value ──dump──▶ parts ──pack──▶ body        body ──unpack──▶ content ──load──▶ value
"""

from __future__ import annotations

from vcache.serialize.codecs import Packed, dump, load
from vcache.serialize.packing import MAX_RATIO, Compression, content_digest, pack, unpack
from vcache.serialize.registry import Codec, is_codec, register, unregister
from vcache.serialize.registry import names as codec_names
from vcache.serialize.sharing import is_immutable

__all__ = [
    "MAX_RATIO",
    "Codec",
    "Compression",
    "Packed",
    "codec_names",
    "content_digest",
    "dump",
    "is_codec",
    "is_immutable",
    "load",
    "pack",
    "register",
    "unpack",
    "unregister",
]
