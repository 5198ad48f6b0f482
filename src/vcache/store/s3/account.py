"""Who asks, and where: credentials, region and host name, from the environment and the settings of AWS.

The one home of botocore, the core of boto3: what boto3 itself adds is not needed here and takes 150 ms
more to import. Where the address and the environment say everything, botocore is not loaded either.
It sends nothing itself, but for what botocore does to get credentials.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from vcache.errors import ConfigError, StoreError, StoreUnavailable
from vcache.kit.data import NamedTuple
from vcache.kit.deadlines import left_s
from vcache.store.s3.sign import Credentials

if TYPE_CHECKING:
    from vcache.store.s3.address import Place

__all__ = ["Account", "Target"]

T = TypeVar("T")

_EVERYWHERE: Final = "us-east-1"
_REFRESH_S: Final = 60.0
_COMMON_REGION: Final = re.compile(r"(af|ap|ca|eu|il|me|mx|sa|us)-[a-z]+-[0-9]")
# Settings that change the host name of S3 in ways that are botocore's to know.
_HOST_SETTINGS: Final = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_USE_FIPS_ENDPOINT",
    "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CONFIG_FILE",
)  # fmt: skip
_NO_CREDENTIALS: Final = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with ?profile=NAME, "
    "or write ?anonymous=1 for a bucket that is open to all"
)


class Target(NamedTuple):
    """Where requests go.

    Attributes:
        base: `http(s)://host[:port]`.
        host: the value of the header Host.
        path: of the bucket, percent-encoded, without a slash at its end.
    """

    base: str
    host: str
    path: str


class Account:
    """The credentials for a place and the region they are used in.

    Threads: all operations.

    Raises:
        ConfigError: the profile does not exist, or botocore is needed and not installed.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        # No lock: what two threads find at once is the same, and each is set in one step.
        self._static: Credentials | None = None
        self._source: Any = None
        self._session: Any = None
        region = place.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if region is None and (place.endpoint is None or place.profile is not None):
            region = _setting(self._botocore(), "region")
        self.region: Final = region or _EVERYWHERE
        self.target: Final = self._target()

    def credentials(self) -> Credentials | None:
        """Who signs a request; None for nobody. Refreshed when they are about to expire.

        Raises:
            StoreError: there are none.
            StoreUnavailable: whoever gives them does not answer.
        """
        if self._place.is_anonymous:
            return None
        static = self._static
        if static is not None:
            return static
        source = self._source
        if source is None or source.refresh_needed():
            return _in_time(self._fetched)
        return _frozen(source)

    def renew(self) -> bool:
        """Whether there are other credentials than before: they were rotated meanwhile."""
        if self._place.is_anonymous:
            return False
        before = self.credentials()
        self._static = self._source = self._session = None
        return self.credentials() != before

    def _fetched(self) -> Credentials:
        found = self._from_environment()
        if found is None:
            source = self._source or self._from_settings()
            found = _frozen(source)
            if hasattr(source, "refresh_needed"):
                self._source = source
                return found
        self._static = found
        return found

    def _from_environment(self) -> Credentials | None:
        access = os.environ.get("AWS_ACCESS_KEY_ID")
        secret = os.environ.get("AWS_SECRET_ACCESS_KEY")
        if self._place.profile is not None or not access or not secret:
            return None
        return Credentials(access, secret, os.environ.get("AWS_SESSION_TOKEN") or "")

    def _from_settings(self) -> Any:
        from botocore.exceptions import BotoCoreError

        try:
            source = self._botocore().get_credentials()
        except BotoCoreError as error:
            raise StoreUnavailable(
                f"store {self._place.text!r}: credentials cannot be had: {error}"
            ) from error
        if source is None:
            raise StoreError(f"store {self._place.text!r}: no credentials: {_NO_CREDENTIALS}")
        return source

    def _botocore(self) -> Any:
        if self._session is None:
            self._session = _session(self._place)
        return self._session

    def _target(self) -> Target:
        place = self._place
        if place.endpoint is None and not self._is_plain_aws():
            base = _asked_of_botocore(self._botocore(), place, self.region)
        else:
            base = place.endpoint or f"https://s3.{self.region}.amazonaws.com"
            base = _with_bucket(base, place)
        parts = urlsplit(base)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host
        default = {"http": 80, "https": 443}[parts.scheme]
        if parts.port not in (None, default):
            host = f"{host}:{parts.port}"
        return Target(f"{parts.scheme}://{host}", host, parts.path.rstrip("/"))

    def _is_plain_aws(self) -> bool:
        """Whether nothing but the region says which host it is."""
        return (
            self._place.profile is None
            and _COMMON_REGION.fullmatch(self.region) is not None
            and not any(os.environ.get(name) for name in _HOST_SETTINGS)
            and not os.path.exists(os.path.expanduser("~/.aws/config"))
        )


def _with_bucket(base: str, place: Place) -> str:
    if place.path_style:
        return f"{base}/{quote(place.bucket)}"
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{place.bucket}.{rest}"


def _session(place: Place) -> Any:
    try:
        from botocore.exceptions import ProfileNotFound
        from botocore.session import Session
    except ImportError:
        raise ConfigError(f"store {place.text!r} needs the package boto3: pip install 'vcache[s3]'") from None
    session = Session(profile=place.profile)
    try:
        session.get_scoped_config()
    except ProfileNotFound as error:
        raise ConfigError(f"store {place.text!r}: {error}: see `aws configure list-profiles`") from error
    return session


def _setting(session: Any, name: str) -> str | None:
    found: str | None = session.get_config_variable(name)
    return found


def _asked_of_botocore(session: Any, place: Place, region: str) -> str:
    """The address of a bucket by all rules of AWS: partitions, dual stack, FIPS, settings of a profile."""
    from botocore.config import Config

    style = "path" if place.path_style else "virtual"
    client = session.create_client(
        "s3",
        region_name=region,
        aws_access_key_id="nobody",  # nothing is sent: only the address is of interest
        aws_secret_access_key="nothing",  # noqa: S106
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": style, "us_east_1_regional_endpoint": "regional"},
        ),
    )
    url: str = client.generate_presigned_url("get_object", Params={"Bucket": place.bucket, "Key": "x"})
    return url.partition("?")[0].removesuffix("/x")


def _frozen(source: Any) -> Credentials:
    from botocore.exceptions import BotoCoreError

    try:
        found = source.get_frozen_credentials()
    except BotoCoreError as error:
        raise StoreUnavailable(f"the credentials for S3 cannot be refreshed: {error}") from error
    return Credentials(found.access_key, found.secret_key, found.token or "")


def _in_time(work: Callable[[], T]) -> T:
    """What work gives, by the deadline of this thread's operation: botocore knows of none."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="vcache-s3-credentials", daemon=True)
    thread.start()
    timeout_s = left_s(_REFRESH_S)
    thread.join(timeout_s)
    if errors:
        raise errors[0]
    if not results:
        raise StoreUnavailable(f"nobody gave credentials for S3 within {timeout_s:.1f} s")
    return results[0]
