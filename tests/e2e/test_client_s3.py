"""The real boto3 over the S3 of the real server."""

from __future__ import annotations

import io
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.e2e.served import guarded, new_token
from tests.servers import VcacheServer

pytestmark = pytest.mark.e2e

Keys = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[VcacheServer, Keys]]:
    """A server, and the keys of a writer, a reader, and a writer elsewhere."""
    directory = tmp_path_factory.mktemp("s3") / "cache"
    keys = {role: new_token(directory, "team", role) for role in ("writer", "reader")}
    keys["elsewhere"] = new_token(directory, "elsewhere", "writer")
    with guarded(directory) as server:
        yield server, keys


def client(server: VcacheServer, keys: dict[str, str], **more: object) -> Any:
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, **more)
    return boto3.client(
        "s3", endpoint_url=f"{server.url}/s3", region_name="auto", config=config,
        aws_access_key_id=keys["access_key"], aws_secret_access_key=keys["secret_key"],
    )  # fmt: skip


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    word: str = error.value.response["Error"]["Code"]
    return word


@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_objects_come_back(place, size: int, checksums: str) -> None:
    """Whatever boto3 adds to a body, or wraps around it; from memory and from a stream."""
    server, keys = place
    s3 = client(server, keys["writer"], request_checksum_calculation=checksums)
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for name, body in (("ü & <b>", content), ("stream", io.BytesIO(content))):
        put = s3.put_object(Bucket="b", Key=f"{size}/{name}", Body=body)
        got = s3.get_object(Bucket="b", Key=f"{size}/{name}")
        assert (got["Body"].read(), got["ETag"]) == (content, put["ETag"])
    assert s3.head_object(Bucket="b", Key=f"{size}/stream")["ContentLength"] == size
    if size > 1:
        part = s3.get_object(Bucket="b", Key=f"{size}/stream", Range="bytes=5-9")
        assert part["Body"].read() == content[5:10]


def test_a_listing_goes_through_all_pages(place) -> None:
    """With a prefix and a delimiter, by boto3's own paginator; and what is deleted is gone."""
    server, keys = place
    s3 = client(server, keys["writer"])
    names = [f"{group}/{number}" for group in "xyz" for number in range(3)]
    for name in names:
        s3.put_object(Bucket="list", Key=name, Body=b"1")
    pages = s3.get_paginator("list_objects_v2")
    found = [
        item["Key"]
        for page in pages.paginate(Bucket="list", PaginationConfig={"PageSize": 2})
        for item in page.get("Contents", ())
    ]
    assert found == names
    groups = s3.list_objects_v2(Bucket="list", Delimiter="/")["CommonPrefixes"]
    assert [group["Prefix"] for group in groups] == ["x/", "y/", "z/"]
    s3.delete_object(Bucket="list", Key="x/0")
    assert s3.list_objects_v2(Bucket="list", Prefix="x/")["KeyCount"] == 2


def test_faults_have_the_codes_that_boto3_knows(place) -> None:
    """No such key, a condition that fails, no right, a wrong secret, what is not served."""
    server, keys = place
    s3 = client(server, keys["writer"])
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="b", Key="none")
    s3.put_object(Bucket="b", Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError) as error:
        s3.put_object(Bucket="b", Key="once", Body=b"2", IfNoneMatch="*")
    assert code(error) == "PreconditionFailed"
    with pytest.raises(ClientError) as error:
        s3.create_multipart_upload(Bucket="b", Key="large")
    assert code(error) == "NotImplemented"
    reader = client(server, keys["reader"])
    assert reader.get_object(Bucket="b", Key="once")["Body"].read() == b"1"
    guessed = client(server, {**keys["writer"], "secret_key": "guessed"})
    for denied in (reader, guessed):
        with pytest.raises(ClientError) as error:
            denied.put_object(Bucket="b", Key="mine", Body=b"1")
        assert code(error) == "AccessDenied"


def test_namespaces_do_not_see_each_other(place) -> None:
    """One bucket of one name, two callers, two objects."""
    server, keys = place
    client(server, keys["writer"]).put_object(Bucket="same", Key="k", Body=b"ours")
    other = client(server, keys["elsewhere"])
    assert other.list_objects_v2(Bucket="same")["KeyCount"] == 0
    with pytest.raises(other.exceptions.NoSuchKey):
        other.get_object(Bucket="same", Key="k")


def test_a_presigned_address_needs_no_keys(place) -> None:
    """To read what it is for, and nothing else."""
    server, keys = place
    s3 = client(server, keys["writer"], signature_version="s3v4")
    s3.put_object(Bucket="b", Key="shown", Body=b"to all")
    address = s3.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "shown"}, ExpiresIn=60)
    with urllib.request.urlopen(address, timeout=10) as reply:
        assert reply.read() == b"to all"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address.replace("shown", "once"), timeout=10)
