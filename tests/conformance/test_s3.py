"""The S3 tier against the suite that is shipped: over moto, and over the RADOS Gateway of Ceph."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ceph import ceph_gateway
from tests.conformance.in_buckets import InBucket, bucket_of
from tests.servers import S3Server, moto_server


class TestMoto(InBucket):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[S3Server]:
        with moto_server() as server:
            bucket_of(server)
            yield server


@pytest.mark.slow
class TestCeph(InBucket):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls) -> Iterator[S3Server]:
        with ceph_gateway() as server:
            bucket_of(server)
            yield server
