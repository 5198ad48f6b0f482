"""`vcache serve`, the real command: its life, its settings, vcache's own dialect."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.native import Wire, an_object
from tests.patience import NEVER_S, no_hang
from tests.servers import certified, needed, vcache_serve, wait_until
from vcache import Cache
from vcache.server.callers import Role
from vcache.server.tokens import TokenFile
from vcache.store.disk import DiskStore

pytestmark = pytest.mark.e2e


@pytest.fixture
def server(tmp_path):
    with vcache_serve(tmp_path / "store") as server:
        yield server


@pytest.fixture
def wire(server):
    with Wire(server.port) as wire:
        yield wire


def _vcache(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vcache", *arguments], capture_output=True, text=True, check=False
    )


class TestLife:
    def test_it_says_where_it_is_and_is_ready(self, server, wire):
        assert wire.ask("GET", "/healthz").body == b"alive\n"
        assert wire.ask("GET", "/readyz").status == wire.ask("GET", "/health").status == 200
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_ends_it_with_0(self, server, number):
        server.process.send_signal(number)
        assert server.process.wait(10) == 0

    def test_it_finishes_a_put_that_it_accepted(self, tmp_path, server, wire):
        """A PUT whose body is under way when the server is told to stop is answered and kept."""
        name, data = an_object("late", 3_000_000)
        wire.send("PUT", f"/vcache/{name}", data[:1_000_000], {"content-length": str(len(data))})
        wait_until(lambda: _is_busy(server.port), "the head is there")
        server.process.terminate()
        wait_until(lambda: not _is_open(server.port), "no new connections")
        wire.socket.sendall(data[1_000_000:])
        assert wire.answer().status == 201
        assert server.process.wait(10) == 0
        with vcache_serve(tmp_path / "store") as again, Wire(again.port) as other:
            assert other.ask("GET", f"/vcache/{name}").body == data

    def test_it_waits_for_a_stalled_put_no_longer_than_its_grace(self, tmp_path):
        with (
            vcache_serve(tmp_path / "store", env={"VCACHE_SERVE_GRACE": "1s"}) as server,
            Wire(server.port) as wire,
        ):
            wire.send("PUT", "/vcache/00ff", b"begun", {"content-length": "5000000"})
            wait_until(lambda: _is_busy(server.port), "the head is there")
            server.process.terminate()
            assert server.process.wait(8) == 0

    def test_connections_that_are_idle_do_not_hold_it_up(self, tmp_path):
        with (
            vcache_serve(tmp_path / "store", env={"VCACHE_SERVE_GRACE": f"{NEVER_S}s"}) as server,
            Wire(server.port) as wire,
            no_hang(),
        ):
            assert wire.ask("GET", "/healthz").status == 200
            server.process.terminate()
            assert server.process.wait() == 0

    def test_it_makes_room_for_more_connections_than_a_shell_allows(self, tmp_path):
        command = [sys.executable, "-m", "vcache", "serve", "--json", "--listen", "127.0.0.1:0"]
        soft, hard = 256, 4096
        shell = ["sh", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"', "sh"]
        with subprocess.Popen(
            [*shell, *command, "--dir", str(tmp_path / "s")], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            json.loads(process.stdout.readline())
            limits = Path(f"/proc/{process.pid}/limits").read_text()
            process.terminate()
        line = next(line for line in limits.splitlines() if line.startswith("Max open files"))
        assert line.split()[3] == str(hard)

    def test_grpc_listens_beside_it(self, tmp_path):
        with vcache_serve(tmp_path / "s", grpc=True) as server:
            assert _is_open(int(server.grpc.rpartition(":")[2]))
            assert _is_open(server.port)
            server.process.terminate()
            assert server.process.wait(20) == 0

    def test_a_missing_extra_is_named(self, tmp_path):
        code = (
            "import sys; sys.modules['uvloop'] = None\n"
            "from vcache.cli.app import cli\n"
            f"cli.main(['serve', '--listen', '127.0.0.1:0', '--dir', {str(tmp_path / 's')!r}])"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert found.returncode == 2
        assert "vcache[serve]" in found.stderr

    def test_a_port_that_is_taken_is_named(self, tmp_path, server):
        found = _vcache("serve", "--listen", f"127.0.0.1:{server.port}", "--dir", tmp_path / "other")
        assert found.returncode == 1
        assert f"127.0.0.1:{server.port}" in found.stderr

    def test_the_hits_are_in_the_stats_of_the_directory(self, tmp_path, server, wire):
        name, data = an_object("counted")
        wire.ask("PUT", f"/vcache/{name}", data)
        for _ in range(3):
            wire.ask("GET", f"/vcache/{name}")
        wire.ask("GET", "/vcache/00aa")
        server.process.terminate()
        server.process.wait(10)
        stats = json.loads(_vcache("stats", "--json", "--dir", tmp_path / "store").stdout)
        assert (stats["hits"], stats["misses"], stats["puts"], stats["saved_s"]) == (3, 1, 1, 6)


def _is_busy(port: int) -> bool:
    """Whether a request of vcache's own dialect is under way."""
    with Wire(port) as wire:
        return b'\nvcache_server_running{dialect="native"} 1' in wire.ask("GET", "/metrics").body


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class TestSettings:
    def test_beyond_loopback_it_wants_tls(self, tmp_path):
        found = _vcache("serve", "--listen", "0.0.0.0:0", "--dir", tmp_path)
        assert found.returncode == 2
        assert "tls_cert" in found.stderr

    def test_beyond_loopback_it_wants_tokens(self, tmp_path):
        found = _vcache("serve", "--listen", "0.0.0.0:0", "--insecure", "--dir", tmp_path)
        assert found.returncode == 2
        assert "--open" in found.stderr

    def test_beyond_loopback_it_serves_openly_when_told(self, tmp_path):
        options = ("--insecure", "--open")
        with (
            vcache_serve(tmp_path / "s", *options, listen="0.0.0.0:0") as server,
            Wire(server.port) as wire,
        ):
            assert wire.ask("GET", "/readyz").status == 200

    def test_an_unknown_key_is_refused_with_its_place(self, tmp_path):
        file = tmp_path / "serve.toml"
        file.write_text('listen = "127.0.0.1:0"\nconections = 5\n')
        found = _vcache("serve", "--config", file, "--dir", tmp_path)
        assert found.returncode == 2
        assert "line 2" in found.stderr
        assert "connections" in found.stderr

    def test_sighup_lets_new_limits_hold_and_keeps_connections(self, tmp_path):
        file = tmp_path / "serve.toml"
        file.write_text('limit = "1MB"\nlog_level = "info"\n')
        with (
            vcache_serve(tmp_path / "store", "--config", file) as server,
            Wire(server.port) as wire,
        ):
            name, data = an_object("large", 2_000_000)
            with Wire(server.port) as other:
                assert other.ask("PUT", f"/vcache/{name}", data).status == 413
            assert wire.ask("GET", "/healthz").status == 200
            file.write_text('limit = "4MB"\nlog_level = "info"\n')
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "were reloaded" in server.log.read_text(), "the reload")
            assert wire.ask("PUT", f"/vcache/{name}", data).status == 201

    @pytest.mark.parametrize("text", ['limit = "lots"', "threads = 3", "limit = ["])
    def test_a_reload_that_cannot_be_is_refused_and_the_old_stays(self, tmp_path, text):
        file = tmp_path / "serve.toml"
        file.write_text('limit = "1MB"\n')
        with vcache_serve(tmp_path / "store", "--config", file) as server:
            file.write_text(text)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "not reloaded" in server.log.read_text(), "the refusal")
            name, data = an_object("large", 2_000_000)
            with Wire(server.port) as wire:
                assert wire.ask("PUT", f"/vcache/{name}", data).status == 413

    def test_tls_serves_and_takes_a_new_certificate_at_sighup(self, tmp_path):
        cert = tmp_path / "a.crt"
        key = certified(cert)
        options = ("--tls-cert", cert, "--tls-key", key, "--log-level", "info")
        with vcache_serve(tmp_path / "store", *options) as server:
            assert server.url.startswith("https://")
            first = ssl.get_server_certificate(("127.0.0.1", server.port))
            context = ssl.create_default_context(cafile=cert)
            with urllib.request.urlopen(f"{server.url}/healthz", context=context) as answer:
                assert answer.read() == b"alive\n"
            certified(cert)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "were reloaded" in server.log.read_text(), "the reload")
            assert ssl.get_server_certificate(("127.0.0.1", server.port)) != first

    def test_grpc_takes_the_new_certificate_as_well(self, tmp_path):
        cert = tmp_path / "a.crt"
        key = certified(cert)
        options = ("--tls-cert", cert, "--tls-key", key, "--log-level", "info")
        with vcache_serve(tmp_path / "store", *options, grpc=True) as server:
            host, _, port = server.grpc.rpartition(":")
            first = ssl.get_server_certificate((host, int(port)))
            certified(cert)
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "were reloaded" in server.log.read_text(), "the reload")
            fresh = ssl.get_server_certificate((host, int(port)))
            assert fresh != first
            assert fresh == ssl.get_server_certificate(("127.0.0.1", server.port))

    def test_a_large_value_comes_over_tls(self, tmp_path):
        cert = tmp_path / "a.crt"
        key = certified(cert)
        name, data = an_object("large", 30_000_000)
        with vcache_serve(tmp_path / "store", "--tls-cert", cert, "--tls-key", key) as server:
            context = ssl.create_default_context(cafile=cert)
            url = f"{server.url}/vcache/{name}"
            request = urllib.request.Request(url, data=data, method="PUT")
            assert urllib.request.urlopen(request, context=context).status == 201
            assert urllib.request.urlopen(url, context=context).read() == data


class TestLogs:
    def test_the_access_log_is_json_and_knows_no_secret(self, tmp_path):
        tokens = TokenFile(tmp_path / "tokens.json")
        token, text = tokens.add(Role.WRITER, "ci")
        options = ("--tokens", tokens.path, "--access-log", "all")
        name, data = an_object("logged")
        with vcache_serve(tmp_path / "store", *options) as server, Wire(server.port) as wire:
            bearer = {"authorization": f"Bearer {text}"}
            assert wire.ask("PUT", f"/vcache/{name}", data, bearer).status == 201
            assert wire.ask("GET", f"/vcache/{name}?a=b", None, bearer).status == 200
            assert wire.ask("GET", f"/vcache/{name}").status == 401
        written = server.log.read_text()
        lines = [json.loads(line) for line in written.splitlines()]
        assert [(line["method"], line["status"], line["outcome"]) for line in lines] == [
            ("PUT", 201, "put"), ("GET", 200, "hit"), ("GET", 401, ""),
        ]  # fmt: skip
        assert lines[0]["token"] == token.id
        assert lines[0]["namespace"] == "ci"
        assert text.rpartition("_")[2] not in written

    def test_metrics_count_by_dialect(self, server, wire):
        name, data = an_object("measured")
        wire.ask("PUT", f"/vcache/{name}", data)
        wire.ask("GET", f"/vcache/{name}")
        wire.ask("GET", "/vcache/00aa")
        wire.ask("PUT", "/vcache/00aa", b"nonsense")
        text = wire.ask("GET", "/metrics").body.decode()
        for line in (
            'vcache_server_requests_total{dialect="native",outcome="hit"} 1.0',
            'vcache_server_requests_total{dialect="native",outcome="miss"} 1.0',
            'vcache_server_requests_total{dialect="native",outcome="put"} 1.0',
            'vcache_server_refused_total{dialect="native",status="400"} 1.0',
            'vcache_server_saved_seconds_total{dialect="native"} 2.0',
            f'vcache_server_received_bytes_total{{dialect="native"}} {len(data) + 8:.1f}',
            'vcache_tier_entries{tier="disk"} 1.0',
        ):
            assert line in text
        assert "vcache_server_duration_seconds_bucket" in text
        assert "process_resident_memory_bytes" in text


class TestNative:
    def test_what_was_put_is_got(self, wire):
        for size in (0, 1, 1000, 5000, 300_000, 5_000_000):
            name, data = an_object(f"of {size}", size)
            assert wire.ask("GET", f"/vcache/{name}").status == 404
            assert wire.ask("PUT", f"/vcache/{name}", data).status == 201
            assert wire.ask("PUT", f"/vcache/{name}", data).status == 204
            assert wire.ask("GET", f"/vcache/{name}").body == data
            head = wire.ask("HEAD", f"/vcache/{name}")
            assert (head.status, head.headers["content-length"]) == (200, str(len(data)))
            assert head.headers["server"].startswith("vcache/")

    def test_any_base_path_will_do(self, wire):
        name, data = an_object("based")
        assert wire.ask("PUT", f"/team/a/vcache/{name}", data).status == 201
        assert wire.ask("GET", f"/vcache/{name}").body == data

    def test_a_deleted_one_is_gone(self, wire):
        name, data = an_object("short-lived")
        wire.ask("PUT", f"/vcache/{name}", data)
        assert wire.ask("DELETE", f"/vcache/{name}").status == 204
        assert wire.ask("DELETE", f"/vcache/{name}").status == 404
        assert wire.ask("GET", f"/vcache/{name}").status == 404

    def test_a_condition_keeps_what_is_there(self, wire):
        name, data = an_object("first")
        other = an_object("first")[1]
        assert wire.ask("PUT", f"/vcache/{name}", data, {"if-none-match": "*"}).status == 201
        assert wire.ask("PUT", f"/vcache/{name}", other, {"if-none-match": "*"}).status == 412
        assert wire.ask("GET", f"/vcache/{name}").body == data

    def test_a_part_of_an_object_is_given(self, wire):
        for size in (1000, 3_000_000):
            name, data = an_object(f"part of {size}", size)
            wire.ask("PUT", f"/vcache/{name}", data)
            for first, last in ((0, 9), (0, 149), (100, 300), (500, 999), (990, 5_000_000)):
                part = wire.ask("GET", f"/vcache/{name}", None, {"range": f"bytes={first}-{last}"})
                assert (part.status, part.body) == (206, data[first : last + 1])
                last = min(last, len(data) - 1)
                assert part.headers["content-range"] == f"bytes {first}-{last}/{len(data)}"
            assert wire.ask("GET", f"/vcache/{name}", None, {"range": "bytes=9000000-"}).status == 416

    def test_what_is_no_object_of_that_name_is_refused(self, wire):
        name, data = an_object("right")
        other = an_object("wrong")[0]
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        torn_head = data[:50] + bytes([data[50] ^ 1]) + data[51:]
        for path, body in (
            (name, flipped), (name, data[:-1]), (name, data + b"x"), (name, b""), (name, torn_head),
            (other, data), ("00zz", data), ("ABCD", data),
        ):  # fmt: skip
            assert wire.ask("PUT", f"/vcache/{path}", body).status == 400, path
        assert wire.ask("GET", f"/vcache/{name}").status == 404
        assert wire.ask("GET", f"/vcache/{other}").status == 404

    def test_long_keys_have_names_too(self, tmp_path, server, wire):
        name, data = an_object("k" * 300)
        assert name.startswith("~")
        assert wire.ask("PUT", f"/vcache/{name}", data).status == 201
        assert wire.ask("GET", f"/vcache/{name}").body == data
        env = {"VCACHE_SERVE_AUDIT": "0"}  # one log has one writer
        with vcache_serve(tmp_path / "store", env=env) as again, Wire(again.port) as other:
            assert other.ask("GET", f"/vcache/{name}").body == data

    def test_many_at_once(self, wire):
        objects = dict(an_object(f"many {n}", 2000) for n in range(200))
        body = b"".join(struct.pack("<Q", len(data)) + data for data in objects.values())
        bad = an_object("bad")[1][:-1] + b"?"
        answer = wire.ask("POST", "/vcache/-/put", body + struct.pack("<Q", len(bad)) + bad)
        assert answer.body == b"? 400\n"
        names = "".join(f"{name}\n" for name in (*objects, "00ff"))
        assert wire.ask("POST", "/vcache/-/missing", names.encode()).body == b"00ff\n"
        got = wire.ask("POST", "/vcache/-/get", names.encode()).body
        found = []
        while got:
            (size,) = struct.unpack_from("<Q", got)
            found.append(got[8 : 8 + size])
            got = got[8 + size :]
        assert sorted(found) == sorted(objects.values())
        listed = wire.ask("GET", "/vcache/-/list").body.decode().split()
        assert listed == sorted(objects)
        after = wire.ask("GET", f"/vcache/-/list?after={listed[99]}").body.decode().split()
        assert after == listed[100:]

    def test_more_names_than_a_call_takes_are_refused(self, wire):
        names = "".join(f"{n:08x}\n" for n in range(10_001))
        assert wire.ask("POST", "/vcache/-/missing", names.encode()).status == 413

    def test_namespaces_never_meet(self, tmp_path):
        tokens = TokenFile(tmp_path / "tokens.json")
        alice = {"authorization": f"Bearer {tokens.add(Role.WRITER, 'alice')[1]}"}
        bob = {"authorization": f"Bearer {tokens.add(Role.WRITER, 'bob')[1]}"}
        reader = {"authorization": f"Bearer {tokens.add(Role.READER, 'alice')[1]}"}
        name, data = an_object("shared name")
        large, large_data = an_object("large one", 2_000_000)
        with (
            vcache_serve(tmp_path / "store", "--tokens", tokens.path) as server,
            Wire(server.port) as wire,
        ):
            for one, body in ((name, data), (large, large_data)):
                assert wire.ask("PUT", f"/vcache/{one}", body, alice).status == 201
                assert wire.ask("GET", f"/vcache/{one}", None, alice).body == body
                assert wire.ask("GET", f"/vcache/{one}", None, reader).body == body
                assert wire.ask("GET", f"/vcache/{one}", None, bob).status == 404
            assert wire.ask("DELETE", f"/vcache/{name}", None, bob).status == 404
            assert wire.ask("DELETE", f"/vcache/{name}", None, reader).status == 403
            listing = wire.ask("GET", "/vcache/-/list", None, alice).body.decode().split()
            assert listing == sorted((name, large))
            assert wire.ask("GET", "/vcache/-/list", None, bob).body == b""
            assert wire.ask("GET", f"/vcache/{name}").status == 401
            sneaky = (b"@alice/" + bytes.fromhex(name)).hex()
            assert wire.ask("GET", f"/vcache/{sneaky}", None, bob).status == 404
        with closing(DiskStore(tmp_path / "store", read_only=True)) as store:
            assert sorted(store.scan()) == sorted(b"@alice/" + bytes.fromhex(one) for one in (name, large))

    def test_a_served_directory_is_the_one_that_local_builds_use(self, tmp_path):
        with Cache(tmp_path / "store") as cache:
            cache.put("made here", b"x" * 2000)
        with vcache_serve(tmp_path / "store") as server, Wire(server.port) as wire:
            listed = wire.ask("GET", "/vcache/-/list").body.decode().split()
            assert len(listed) == 1
            assert wire.ask("GET", f"/vcache/{listed[0]}").status == 200

    def test_an_answer_is_one_write(self, tmp_path, server, wire):
        name, data = an_object("one write")
        wire.ask("PUT", f"/vcache/{name}", data)
        trace = tmp_path / "trace"
        command = [needed("strace", "strace"), "-f", "-e", "trace=write,writev,sendto,sendmsg"]
        tracer = subprocess.Popen(
            [*command, "-o", trace, "-p", str(server.process.pid)], stderr=subprocess.PIPE
        )
        assert tracer.stderr is not None
        assert b"attached" in tracer.stderr.readline()
        for _ in range(5):
            assert wire.ask("GET", f"/vcache/{name}").body == data
        assert wire.ask("GET", "/healthz").status == 200
        tracer.terminate()
        tracer.communicate(timeout=10)
        answers = [line for line in trace.read_text().splitlines() if "HTTP/1.1 200" in line]
        sizes = [int(line.rpartition("= ")[2]) for line in answers]
        assert len(sizes) == 6
        assert all(size > len(data) for size in sizes[:5])
        assert all(size > len("alive\n") + 60 for size in sizes[5:])


class TestStore:
    def test_it_keeps_its_budget_while_it_serves(self, tmp_path):
        env = {"VCACHE_SERVE_LEASE": "0s", "VCACHE_SERVE_LIMIT": "3MB"}
        with (
            vcache_serve(tmp_path / "store", "--max", "10MB", env=env) as server,
            Wire(server.port) as wire,
        ):
            name = ""
            for number in range(40):
                name, data = an_object(f"of many {number}", 1_000_000)
                assert wire.ask("PUT", f"/vcache/{name}", data).status == 201

            def is_within() -> bool:
                text = wire.ask("GET", "/metrics").body.decode()
                used = re.search(r"^vcache_store_disk_bytes (\S+)", text, re.MULTILINE)
                return used is not None and float(used[1]) <= 10_500_000

            wait_until(is_within, "the store is within its budget", timeout_s=20)
            assert wire.ask("GET", f"/vcache/{name}").status == 200

    def test_a_quota_holds_for_what_is_replaced_and_for_chunks(self, tmp_path):
        """A name that grows counts, and so does a body that did not say how long it is."""
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        head = "PUT /dav/{} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
        with (
            vcache_serve(tmp_path / "store", env={"VCACHE_SERVE_QUOTA": "1MB"}) as server,
            Wire(server.port) as wire,
        ):
            wire.socket.sendall(head.format("chunks").encode() + chunk * 20 + b"0\r\n\r\n")
            assert wire.answer().status == 507
            assert [wire.ask("PUT", f"/dav/{n}", b"1").status for n in range(3)] == [201] * 3
            grown = [wire.ask("PUT", f"/dav/{n}", bytes(600_000)).status for n in range(3)]
            assert grown == [204, 507, 507]
            assert wire.ask("PUT", "/dav/0", b"1").status == 204
            name, data = an_object("large", 600_000)
            assert wire.ask("PUT", f"/vcache/{name}", data).status == 201
            wire.socket.sendall(head.format("chunks").encode() + chunk * 8 + b"0\r\n\r\n")
            assert wire.answer().status == 507

    def test_it_stands_over_another_server(self, tmp_path):
        with vcache_serve(tmp_path / "upstream") as upstream:
            name, data = an_object("upstream")
            with Wire(upstream.port) as wire:
                assert wire.ask("PUT", f"/vcache/{name}", data).status == 201
            state = tmp_path / "state"
            store = f"disk:{tmp_path / 'near'} {upstream.url}?state={state}"
            with vcache_serve(tmp_path / "unused", "--store", store) as server, Wire(server.port) as wire:
                assert wire.ask("GET", f"/vcache/{name}").body == data
                assert wire.ask("GET", "/vcache/00ff").status == 404
                upstream.process.kill()
                upstream.process.wait()
                assert wire.ask("GET", f"/vcache/{name}").body == data
                with no_hang():
                    assert wire.ask("GET", "/vcache/00fe").status == 404

    def test_a_killed_server_leaves_a_sound_store(self, tmp_path):
        objects = dict(an_object(f"kept {n}", 5000) for n in range(20))
        with vcache_serve(tmp_path / "store") as server, Wire(server.port) as wire:
            for name, data in objects.items():
                assert wire.ask("PUT", f"/vcache/{name}", data).status == 201
            wire.send("PUT", "/vcache/00ff", b"x" * 3_000_000, {"content-length": "9000000"})
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait()
        with vcache_serve(tmp_path / "store") as server, Wire(server.port) as wire:
            for name, data in objects.items():
                assert wire.ask("GET", f"/vcache/{name}").body == data
            assert wire.ask("GET", "/vcache/00ff").status == 404

    def test_what_a_killed_server_was_taking_in_is_cleared_away(self, tmp_path):
        """Its space comes back with the next server, unless another one takes bodies in there."""
        uploads = tmp_path / "store" / "server" / "uploads"
        env = {"VCACHE_SERVE_AUDIT": "false"}
        with vcache_serve(tmp_path / "store", env=env) as server, Wire(server.port) as wire:
            wire.send("PUT", "/dav/large", b"x" * 3_000_000, {"content-length": "9000000"})
            wait_until(lambda: any(uploads.iterdir()), "the beginning of a body")
            with vcache_serve(tmp_path / "store", env=env):
                assert any(uploads.iterdir())
            server.process.kill()
            server.process.wait()
        assert any(uploads.iterdir())
        with vcache_serve(tmp_path / "store", env=env):
            assert not any(uploads.iterdir())


def test_tokens_count_without_a_reload(tmp_path):
    """One that is made later lets in, one that is revoked no longer, and a broken file changes nothing."""
    tokens = TokenFile(tmp_path / "tokens.json")
    row, text = tokens.add(Role.WRITER, "ci")
    first = {"authorization": f"Bearer {text}"}
    with vcache_serve(tmp_path / "store", "--tokens", tokens.path) as server, Wire(server.port) as wire:

        def status(headers):
            return wire.ask("PUT", "/dav/x", b"x", headers).status

        assert status(first) in (201, 204)
        second = {"authorization": f"Bearer {tokens.add(Role.WRITER, 'ci')[1]}"}
        wait_until(lambda: status(second) in (201, 204), "the new token to count")
        tokens.revoke(row.id)
        wait_until(lambda: status(first) == 401, "the old token to count no more")
        kept = tokens.path.read_bytes()
        tokens.path.write_bytes(b"nonsense")
        wait_until(lambda: b"were not read again" in server.log.read_bytes(), "a word about the file")
        assert status(second) in (201, 204)
        tokens.path.write_bytes(kept)


def test_the_line_for_people_names_the_address(tmp_path):
    """Without --json one line says where it serves."""
    command = [sys.executable, "-m", "vcache", "serve", "--listen", "127.0.0.1:0", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert re.fullmatch(r"vcache serves at http://127\.0\.0\.1:\d+\n", process.stdout.readline())
        process.terminate()
