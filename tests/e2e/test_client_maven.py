"""The requests of Maven's build cache extension over the real server.

The extension itself comes from Maven Central, which tests do without: what it is documented to send is
sent by curl, in its order.
"""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.served import FULL, WRONG_TOKEN, asked, guarded, killed, new_token, pointed
from tests.servers import needed, vcache_serve

pytestmark = pytest.mark.e2e

CHECKSUM = "7d1c6a2f3b9e0c54"
HOME = f"v1.1/org.example/app/{CHECKSUM}"
JAR = b"PK\x03\x04" + bytes(range(256)) * 40
INFO = b'<?xml version="1.0"?><build><cacheImplementationVersion>v1.1</cacheImplementationVersion></build>'
REFUSED = 7  # curl's status where nobody listens


@dataclass(frozen=True)
class Resolver:
    """Moves files as Maven Resolver does: a password only when asked for it."""

    url: str
    root: Path
    token: str = ""

    def get(self, name: str) -> tuple[int, bytes]:
        return self._curl(name)

    def put(self, name: str, content: bytes) -> int:
        file = self.root / "body"
        file.write_bytes(content)
        return self._curl(name, "--upload-file", str(file))[0]

    def make_directory(self, name: str) -> int:
        return self._curl(f"{name}/", "-X", "MKCOL")[0]

    def save(self) -> list[int]:
        """A build as the extension saves it: artifacts, their checksums, then the buildinfo.xml."""
        sha1 = hashlib.sha1(JAR, usedforsecurity=False).hexdigest().encode()
        files = {"app.jar": JAR, "app.jar.sha1": sha1, "buildinfo.xml": INFO}
        return [self.put(f"{HOME}/{name}", content) for name, content in files.items()]

    def _curl(self, name: str, *options: str) -> tuple[int, bytes]:
        out = self.root / "out"
        out.write_bytes(b"")
        login = ["--anyauth", "-u", f"vcache:{self.token}"] if self.token else []
        command = [needed("curl", "curl"), "-s", "-o", str(out), "-w", "%{http_code}", *login, *options]
        done = subprocess.run([*command, f"{self.url}/{name}"], capture_output=True, text=True, check=False)
        return (int(done.stdout) or -done.returncode), out.read_bytes()


def address(settings: dict[str, str]) -> str:
    """Where `vcache env maven` sends Maven."""
    words = settings["MAVEN_ARGS"].split()
    return next(
        word.partition("=")[2] for word in words if word.startswith("-Dmaven.build.cache.remote.url=")
    )


def test_a_build_that_was_saved_is_found(tmp_path: Path) -> None:
    """A miss, the files in the order of the extension, and the same files back."""
    with vcache_serve(tmp_path / "cache") as server:
        maven = Resolver(address(pointed("maven", server)), tmp_path)
        assert maven.get(f"{HOME}/buildinfo.xml")[0] == 404
        assert maven.make_directory(HOME) == 201
        assert maven.save() == [201, 201, 201]
        assert maven.get(f"{HOME}/buildinfo.xml") == (200, INFO)
        assert maven.get(f"{HOME}/app.jar") == (200, JAR)
        assert maven.put("v1.1/org.example/parent/42/build-cache-report.xml", b"<report/>") == 201
        assert asked(server, "maven") == {"miss": 1, "put": 4, "hit": 2, "other": 1}


def test_a_password_is_sent_when_it_is_asked_for(tmp_path: Path) -> None:
    """Reader and writer of a namespace, and a stranger, who finds nothing."""
    directory = tmp_path / "cache"
    tokens = {role: new_token(directory, "team", role)["token"] for role in ("writer", "reader")}
    with guarded(directory) as server:
        url = address(pointed("maven", server, tokens["writer"]))
        assert Resolver(url, tmp_path, tokens["writer"]).save() == [201, 201, 201]
        reader = Resolver(url, tmp_path, tokens["reader"])
        assert reader.get(f"{HOME}/buildinfo.xml") == (200, INFO)
        assert reader.save() == [403, 403, 403]
        assert Resolver(url, tmp_path, WRONG_TOKEN).get(f"{HOME}/buildinfo.xml")[0] == 401


def test_trouble_is_told_in_statuses_that_maven_logs(tmp_path: Path) -> None:
    """A full store, a server that is gone: failures of a transfer, which the extension passes over."""
    with vcache_serve(tmp_path / "cache", env=FULL) as server:
        maven = Resolver(address(pointed("maven", server)), tmp_path)
        assert maven.save() == [507, 507, 507]
        assert maven.get(f"{HOME}/buildinfo.xml")[0] == 404
        killed(server)
        assert maven.get(f"{HOME}/buildinfo.xml")[0] == -REFUSED
