"""The suite for a store in a bucket, over whichever server there is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.at_address import AtAddress
from tests.servers import S3Server
from vcache.testing import BatchesTests, PersistentTests, PresenceTests, StoreTests

__all__ = ["InBucket", "bucket_of"]


def bucket_of(server: S3Server, name: str = "bucket") -> Any:
    """A client of boto3 for a server, on which a new bucket was made."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access,
        aws_secret_access_key=server.secret,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )
    client.create_bucket(Bucket=name)
    return client


class InBucket(AtAddress, StoreTests, BatchesTests, PresenceTests, PersistentTests):
    """What is the same for every server. The class provides a fixture `server`, of which the bucket is empty."""

    @pytest.fixture
    def address(
        self, server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
    ) -> str:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        return f"s3://bucket/{abs(hash(request.node.nodeid)):x}/é+ x?endpoint={server.endpoint}"
