"""Where credentials, regions and host names come from."""

from __future__ import annotations

import sys
import threading

import pytest

from tests.patience import NEVER_S, no_hang
from vcache.errors import ConfigError, StoreError, StoreUnavailable
from vcache.kit.deadlines import Within
from vcache.store.address import Options, parse_url
from vcache.store.s3.account import Account
from vcache.store.s3.address import Place, place_of
from vcache.store.s3.sign import Credentials

ENDPOINT = "endpoint=http://127.0.0.1:9000"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch, tmp_path):
    """No settings of AWS but those that a test makes, and no machine of Amazon's to ask."""
    import os

    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Writes the two files of AWS."""

    def write(config: str, credentials: str = "") -> None:
        for name, variable, text in (
            ("config", "AWS_CONFIG_FILE", config),
            ("credentials", "AWS_SHARED_CREDENTIALS_FILE", credentials),
        ):
            (tmp_path / name).write_text(text)
            monkeypatch.setenv(variable, str(tmp_path / name))

    return write


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SK")


def place(text: str) -> Place:
    url = parse_url(text)
    return place_of(url, Options(url))


def account(text: str) -> Account:
    return Account(place(text))


def test_the_environment_is_enough(keys, monkeypatch):
    """With an endpoint and keys in the environment botocore is not asked, nor needed."""
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "T")
    found = account(f"s3://bucket/p?{ENDPOINT}")
    assert found.credentials() == Credentials("AK", "SK", "T")
    assert (found.region, *found.target) == (
        "us-east-1",
        "http://127.0.0.1:9000",
        "127.0.0.1:9000",
        "/bucket",
    )


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("s3://bucket?region=eu-west-1", ("https://bucket.s3.eu-west-1.amazonaws.com", "")),
        ("s3://b.dots?region=eu-west-1", ("https://s3.eu-west-1.amazonaws.com", "/b.dots")),
        ("s3://bucket?region=cn-north-1", ("https://bucket.s3.cn-north-1.amazonaws.com.cn", "")),
        ("s3://bucket?endpoint=https://h:443/s3", ("https://h", "/s3/bucket")),
        ("s3://bucket?endpoint=http://[::1]:90", ("http://[::1]:90", "/bucket")),
        ("s3://bucket?endpoint=http://h&path_style=0", ("http://bucket.h", "")),
        ("s3://bucket?endpoint=http://h:81&path_style=no", ("http://bucket.h:81", "")),
    ],
)
def test_hosts(keys, text, target):
    """The bucket is in the host name at AWS and in the path at others, unless the address says else."""
    found = account(text).target
    assert (found.base, found.path) == target
    assert found.host == found.base.partition("://")[2]


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "ap-southeast-2"])
@pytest.mark.parametrize("bucket", ["bucket", "with.dots"])
def test_the_short_way_gives_what_botocore_gives(keys, monkeypatch, region, bucket):
    """Where nothing but the region counts, the host is named without botocore, and rightly."""
    text = f"s3://{bucket}?region={region}&path_style={int('.' in bucket)}"
    short = account(text).target
    monkeypatch.setattr(Account, "_is_plain_aws", lambda _: False)
    assert account(text).target == short


def test_a_profile_gives_keys_and_region(settings):
    """As `aws configure` wrote them; the environment's keys are not those of a profile that is named."""
    settings("[profile ci]\nregion = eu-west-3\n", "[ci]\naws_access_key_id = P\naws_secret_access_key = Q\n")
    found = account("s3://bucket?profile=ci")
    assert found.region == "eu-west-3"
    assert found.credentials() == Credentials("P", "Q")
    assert found.target.base == "https://bucket.s3.eu-west-3.amazonaws.com"


def test_a_profile_outranks_the_environment(settings, keys):
    """Who names a profile means it."""
    settings("", "[ci]\naws_access_key_id = P\naws_secret_access_key = Q\n")
    assert account(f"s3://bucket?profile=ci&{ENDPOINT}").credentials() == Credentials("P", "Q")


def test_settings_name_another_server(settings, keys):
    """`endpoint_url` of the settings of AWS counts where the address names no endpoint."""
    settings("[default]\nregion = eu-west-1\nendpoint_url = http://127.0.0.1:9001\n")
    found = account("s3://bucket?path_style=1")
    assert (found.target.base, found.target.path) == ("http://127.0.0.1:9001", "/bucket")


def test_an_unknown_profile_is_said(settings):
    """With its name, before anything is sent."""
    settings("[profile ci]\n")
    with pytest.raises(ConfigError, match="nobody"):
        account("s3://bucket?profile=nobody")


def test_no_credentials_is_said_with_the_ways_to_have_some():
    """The message names the variables, the profile and the bucket that is open to all."""
    with pytest.raises(StoreError, match=r"AWS_ACCESS_KEY_ID.*profile=NAME.*anonymous=1") as caught:
        account(f"s3://bucket?{ENDPOINT}").credentials()
    assert not caught.value.retryable


def test_nobody_signs_for_a_bucket_that_is_open_to_all():
    """`anonymous=1` asks for no credentials."""
    found = account(f"s3://bucket?{ENDPOINT}&anonymous=1")
    assert found.credentials() is None
    assert not found.renew()


def test_missing_boto_names_the_extra(monkeypatch):
    """Who needs botocore and does not have it is told what to install."""
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(ConfigError, match=r"pip install 'vcache\[s3\]'"):
        account("s3://bucket")


def test_rotated_keys_are_read_again(settings):
    """`renew` reads the settings again, and says whether they changed."""
    settings("", "[ci]\naws_access_key_id = P\naws_secret_access_key = old\n")
    found = account(f"s3://bucket?profile=ci&{ENDPOINT}")
    assert found.credentials() == Credentials("P", "old")
    assert not found.renew()
    settings("", "[ci]\naws_access_key_id = P\naws_secret_access_key = new\n")
    assert found.credentials() == Credentials("P", "old")
    assert found.renew()
    assert found.credentials() == Credentials("P", "new")


def test_credentials_that_end_are_refreshed(settings, tmp_path):
    """A program that gives credentials for an hour is asked again when they are about to expire."""
    count = tmp_path / "count"
    program = tmp_path / "give"
    program.write_text(
        f"#!{sys.executable}\n"
        "import datetime, json, pathlib\n"
        f"count = pathlib.Path({str(count)!r})\n"
        "number = int(count.read_text()) + 1 if count.exists() else 1\n"
        "count.write_text(str(number))\n"
        "minutes = 1 if number == 1 else 600\n"
        "end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': 'A', 'SecretAccessKey': str(number),\n"
        "                  'SessionToken': 'T', 'Expiration': end.isoformat()}))\n"
    )
    program.chmod(0o755)
    settings(f"[profile ci]\ncredential_process = {program}\n")
    found = account(f"s3://bucket?profile=ci&{ENDPOINT}")
    given = [found.credentials() for _ in range(4)]
    assert given[-1] == given[-2] == Credentials("A", "2", "T")
    assert count.read_text() == "2"


def test_who_gives_credentials_may_not_take_longer_than_the_operation(settings, tmp_path, monkeypatch):
    """A program that hangs ends nobody's deadline later."""
    release = threading.Event()
    found = account(f"s3://bucket?{ENDPOINT}")
    monkeypatch.setattr(found, "_fetched", lambda: release.wait(NEVER_S))
    with no_hang(), Within(0.1), pytest.raises(StoreUnavailable, match="nobody gave credentials"):
        found.credentials()
    release.set()


def test_a_program_that_fails_is_no_end_of_the_world(settings):
    """It may succeed the next time."""
    settings("[profile ci]\ncredential_process = /bin/false\n")
    with pytest.raises(StoreUnavailable, match="credentials cannot be"):
        account(f"s3://bucket?profile=ci&{ENDPOINT}").credentials()
