"""`vcache env`: the exact settings that point a build tool at a server.

A tool that reads its environment gets lines for `eval`; one that reads a file gets the text of that
file. Tokens are named, never printed, wherever the tool can look one up itself.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import click

from vcache.kit.data import dataclass, field

__all__ = ["TOOLS", "Pointer", "Where", "env", "pointer"]

_ADDRESS: Final = "http://127.0.0.1:8080"
_GRPC: Final = "127.0.0.1:9092"


@dataclass(frozen=True, slots=True)
class Where:
    """Which server, and as whom.

    Attributes:
        url: of the HTTP dialects, without a slash at its end.
        grpc: host and port of the gRPC listener.
        token_env: the variable that holds the token; "" for an open server.
        token: what it holds; used only for files of tools that read no variables.
    """

    url: str
    grpc: str = _GRPC
    token_env: str = ""
    token: str = ""

    @property
    def shell_token(self) -> str:
        """The token as a shell writes it."""
        return f"${{{self.token_env}}}"

    @property
    def is_plain(self) -> bool:
        """Whether the address is without TLS."""
        return self.url.startswith("http:")

    @property
    def grpc_url(self) -> str:
        """The gRPC listener, which has the certificate of the other one."""
        return f"grpc{'' if self.is_plain else 's'}://{self.grpc}"


@dataclass(frozen=True, slots=True)
class Pointer:
    """What points one tool at a server.

    Attributes:
        variables: of the environment, as a shell expands them within double quotes.
        file: the name of a file that the tool reads; "" if the environment is all.
        text: what to write there.
        note: what else there is to know.
    """

    variables: dict[str, str] = field(default_factory=dict)
    file: str = ""
    text: str = ""
    note: str = ""


def _ccache(where: Where) -> Pointer:
    if not where.is_plain:
        from vcache.errors import ConfigError

        # With such an address each compilation fails.
        raise ConfigError(
            f"--url {where.url}: ccache speaks no TLS: give it http:// and a server on this machine that "
            "stands over that one (vcache serve --store), or a tunnel to it; or, from ccache 4.13 on, "
            f"CCACHE_REMOTE_STORAGE=vcache: and VCACHE_REMOTE={where.url}"
        )
    token = f"|bearer-token={where.shell_token}" if where.token_env else ""
    return Pointer({"CCACHE_REMOTE_STORAGE": f"{where.url}/ccache{token}"})


def _sccache(where: Where) -> Pointer:
    token = {"SCCACHE_WEBDAV_TOKEN": where.shell_token} if where.token_env else {}
    return Pointer(
        {"SCCACHE_WEBDAV_ENDPOINT": f"{where.url}/dav", "SCCACHE_WEBDAV_KEY_PREFIX": "/sccache", **token},
        note="sccache reads this when its server starts: sccache --stop-server",
    )


def _sccache_s3(where: Where) -> Pointer:
    variables = {
        "SCCACHE_BUCKET": "sccache",
        "SCCACHE_ENDPOINT": f"{where.url}/s3",
        "SCCACHE_REGION": "auto",
        "SCCACHE_S3_USE_SSL": "false" if where.is_plain else "true",
    }
    if where.token_env:
        note = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to what `vcache token new --s3` printed"
        return Pointer(variables, note=note)
    return Pointer(variables | {"SCCACHE_S3_NO_CREDENTIALS": "true"})


def _bazel(where: Where) -> Pointer:
    lines = [f"build --remote_cache={where.url}"]
    if where.token_env:
        if not where.token:
            from vcache.errors import ConfigError

            raise ConfigError(
                f"--token-env {where.token_env}: the variable is empty or not set, and a .bazelrc, which "
                "reads no variables, has to hold the token itself"
            )
        lines.append(f"build --remote_header=Authorization=Bearer\\ {where.token}")
    lines += ["build --remote_upload_local_results=true", "build --remote_timeout=10"]
    return Pointer(file=".bazelrc", text=_lines(lines), note=f"or by gRPC: --remote_cache={where.grpc_url}")


def _turbo(where: Where) -> Pointer:
    # turbo asks a remote only with a token and a team; an open server looks at neither.
    token = where.shell_token if where.token_env else "open"
    return Pointer({"TURBO_API": where.url, "TURBO_TOKEN": token, "TURBO_TEAM": "vcache"})


def _nx(where: Where) -> Pointer:
    token = {"NX_SELF_HOSTED_REMOTE_CACHE_ACCESS_TOKEN": where.shell_token} if where.token_env else {}
    return Pointer(
        {"NX_SELF_HOSTED_REMOTE_CACHE_SERVER": where.url, **token},
        note="Nx fails where this server cannot be reached: unset the variable then",
    )


def _gradle(where: Where) -> Pointer:
    lines = ["gradle.settingsEvaluated { settings ->", "    settings.buildCache {"]
    lines += ["        remote(HttpBuildCache) {", f"            url = '{where.url}/gradle/'"]
    lines += ["            push = true"]
    if where.is_plain:
        lines.append(
            "            if (delegate.hasProperty('allowInsecureProtocol')) allowInsecureProtocol = true"
        )
    if where.token_env:
        lines += ["            credentials {", "                username = 'vcache'"]
        lines += [f"                password = System.getenv('{where.token_env}')", "            }"]
    lines += ["        }", "    }", "}"]
    note = "run Gradle with --build-cache, or set org.gradle.caching=true"
    return Pointer(file="~/.gradle/init.d/vcache.gradle", text=_lines(lines), note=note)


def _maven(where: Where) -> Pointer:
    properties = {
        "enabled": "true", "url": f"{where.url}/maven", "save.enabled": "true", "server.id": "vcache",
    }  # fmt: skip
    flags = " ".join(f"-Dmaven.build.cache.remote.{name}={value}" for name, value in properties.items())
    if not where.token_env:
        return Pointer({"MAVEN_ARGS": flags}, note="Maven 3.9 or later reads MAVEN_ARGS")
    lines = [
        "<settings>", "  <servers>", "    <server>", "      <id>vcache</id>",
        "      <username>vcache</username>", f"      <password>${{env.{where.token_env}}}</password>",
        "    </server>", "  </servers>", "</settings>",
    ]  # fmt: skip
    return Pointer(
        {"MAVEN_ARGS": flags}, "~/.m2/settings.xml", _lines(lines), "Maven 3.9 or later reads MAVEN_ARGS"
    )


def _moon(where: Where) -> Pointer:
    lines = ["remote:", "  api: 'http'", f"  host: '{where.url}'"]
    if where.token_env:
        lines += ["  auth:", f"    token: '{where.token_env}'"]
    return Pointer(file=".moon/workspace.yml", text=_lines(lines))


def _buck2(where: Where) -> Pointer:
    address = f"grpc://{where.grpc}"  # whether with TLS is the next setting
    lines = [
        "[buck2_re_client]",
        *(f"{name}_address = {address}" for name in ("engine", "action_cache", "cas")),
    ]
    lines += [f"tls = {'false' if where.is_plain else 'true'}", "instance_name = "]
    if where.token_env:
        lines.append(f"http_headers = Authorization: Bearer ${where.token_env}")
    note = "and an execution platform with local_enabled, remote_cache_enabled and allow_cache_uploads"
    return Pointer(
        file=".buckconfig", text=_lines([*lines, "", "[buck2]", "digest_algorithms = SHA256"]), note=note
    )


def _pants(where: Where) -> Pointer:
    token = {"PANTS_REMOTE_OAUTH_BEARER_TOKEN": where.shell_token} if where.token_env else {}
    return Pointer(
        {
            "PANTS_REMOTE_CACHE_READ": "true",
            "PANTS_REMOTE_CACHE_WRITE": "true",
            "PANTS_REMOTE_STORE_ADDRESS": where.grpc_url,
            "PANTS_REMOTE_INSTANCE_NAME": "main",
            **token,
        }
    )


def _vcache(where: Where) -> Pointer:
    token = f"?token={where.token_env}" if where.token_env else ""
    return Pointer({"VCACHE_REMOTE": f"{where.url}{token}"})


def _go(where: Where) -> Pointer:
    remote = _vcache(where).variables
    return Pointer({"GOCACHEPROG": "vcache gocacheprog", **remote}, note="Go 1.24 or later")


TOOLS: Final[dict[str, Callable[[Where], Pointer]]] = {
    "bazel": _bazel,
    "buck2": _buck2,
    "ccache": _ccache,
    "go": _go,
    "gradle": _gradle,
    "maven": _maven,
    "moon": _moon,
    "nx": _nx,
    "pants": _pants,
    "sccache": _sccache,
    "sccache-s3": _sccache_s3,
    "turbo": _turbo,
    "vcache": _vcache,
}


def pointer(tool: str, where: Where) -> Pointer:
    """What points a tool at a server.

    Raises:
        ConfigError: the tool cannot reach such an address.
    """
    return TOOLS[tool](where)


@click.command(short_help="Print what points a build tool at a server.")
@click.argument("tool", metavar="TOOL", type=click.Choice(sorted(TOOLS)))
@click.option("--url", metavar="URL", default=_ADDRESS, show_default=True, help="Where `vcache serve` is.")
@click.option("--grpc", metavar="HOST:PORT", default=_GRPC, show_default=True, help="Its gRPC listener.")
@click.option(
    "--token-env", metavar="NAME", default="", help="The variable that holds a token of the server."
)
@click.option(
    "--format", "form", type=click.Choice(["sh", "json"]), default="sh", show_default=True,
    help="Lines for a shell, or one JSON object.",
)  # fmt: skip
def env(tool: str, *, url: str, grpc: str, token_env: str, form: str) -> int:
    """Print the settings that point TOOL at a server.

    TOOL is one of bazel, buck2, ccache, go, gradle, maven, moon, nx, pants, sccache, sccache-s3 (the same
    by another dialect), turbo, and vcache itself.

    For a tool that reads its environment: `eval "$(vcache env ccache)"`. For one that reads a file,
    the text for it, whose name is told on standard error: `vcache env bazel >> .bazelrc`.

    --format json prints an object: `variables`, with the token's variable as ${NAME}, `file`, `text`
    and `note`.
    """
    where = _where(url, grpc, token_env)
    found = pointer(tool, where)
    if form == "json":
        words = {"variables": found.variables, "file": found.file, "text": found.text, "note": found.note}
        click.echo(json.dumps(words, indent=2))
        return 0
    for name, value in found.variables.items():
        click.echo(f"export {name}={_quoted(value, where)}")
    if found.text and not found.variables:
        click.echo(found.text, nl=False)
    elif found.text:
        click.echo("".join(f"# {line}\n" for line in found.text.splitlines()), nl=False)
    for said in ((f"the text belongs into {found.file}" if found.file else ""), found.note):
        if said:
            click.echo(f"vcache: {said}", err=True)
    return 0


def _where(url: str, grpc: str, token_env: str) -> Where:
    from vcache.errors import ConfigError

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc or "'" in url:
        shown = "…@" + url.rpartition("@")[2] if "@" in url else url
        raise ConfigError(f"--url {shown!r}: write http://HOST:PORT or https://HOST:PORT, without a password")
    if token_env and not (token_env.isascii() and token_env.isidentifier()):
        raise ConfigError(f"--token-env {token_env!r}: give the name of a variable, not a token")
    return Where(url.rstrip("/"), grpc, token_env, os.environ.get(token_env, "") if token_env else "")


def _quoted(value: str, where: Where) -> str:
    """A value in a shell's quotes, but for the token, which the shell puts in."""
    if not where.token_env or where.shell_token not in value:
        return shlex.quote(value)
    before, after = value.split(where.shell_token, 1)
    return (
        f'{shlex.quote(before) if before else ""}"{where.shell_token}"{shlex.quote(after) if after else ""}'
    )


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
