"""Jobs over the real server: asked for with curl, run by real workers that come over HTTP, kept through a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.patience import no_hang, until
from tests.servers import VcacheServer, ended, needed, redis_server, vcache_serve
from vcache.server.callers import Role
from vcache.server.tokens import TokenFile

pytestmark = pytest.mark.e2e

HANDS = """
import os, signal, time
from vcache.jobs import current_job, job

@job("greet", retries=0)
def greet(who: str) -> dict:
    current_job().progress(1, 2, "greeting")
    return {"said": f"hello {who}", "raw": b"\\0"}

@job("fail", retries=0)
def fail() -> None:
    raise ValueError("as it was told")

@job("die")
def die(marks: str) -> str:
    with open(marks, "a") as file:
        file.write("x")
    if os.path.getsize(marks) < 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"
"""


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hands")
    (place / "hands.py").write_text(HANDS)
    return place


@contextmanager
def working(hands: Path, url: str, *options: str, env: Mapping[str, str] | None = None) -> Iterator[None]:
    """A real worker of a server, over HTTP; ended by SIGTERM."""
    command = [
        sys.executable,
        "-m",
        "vcache",
        "worker",
        "--module",
        "hands",
        "--queue",
        url,
        "--lease",
        "2s",
        *options,
    ]
    with open(hands / "worker.log", "ab") as log:
        process = subprocess.Popen(
            command,
            cwd=hands,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **(env or {})},
        )
    try:
        yield
    finally:
        ended(process, timeout_s=40)


def ended_job(client: httpx.Client, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(client.get(f"/jobs/{job_id}", params={"wait": "20"}).json())
        return found["state"] in ("completed", "dead", "cancelled")

    until(has_ended)
    return found


@contextmanager
def asking(server: VcacheServer, token: str = "") -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=f"{server.url}/api/v1", headers=headers, timeout=60) as client:
        yield client


def test_a_job_from_curl_to_a_worker_and_back(tmp_path: Path, hands: Path) -> None:
    """With tokens: curl asks with a writer's, a worker comes with a builder's, a reader sees what came of it."""
    file = TokenFile(tmp_path / "tokens.json")
    tokens = {role: file.add(role, "main")[1] for role in (Role.READER, Role.WRITER, Role.BUILDER)}
    with vcache_serve(tmp_path / "store", "--tokens", tmp_path / "tokens.json") as server:
        curl = [
            needed("curl", "curl"), "-sS", "-H", f"Authorization: Bearer {tokens[Role.WRITER]}",
            f"{server.url}/api/v1/jobs", "-d", '{"kind":"greet","payload":{"who":"Ann"},"priority":"high"}',
        ]  # fmt: skip
        asked = json.loads(subprocess.run(curl, capture_output=True, check=True).stdout)
        assert asked["is_new"] is True
        with (
            working(hands, server.url, env={"VCACHE_TOKEN": tokens[Role.BUILDER]}),
            asking(server, tokens[Role.READER]) as client,
        ):
            job = ended_job(client, asked["id"])
            assert (job["state"], job["attempts"]) == ("completed", 1), job
            assert job["result"] == {"said": "hello Ann", "raw": {"$bytes": "AA=="}}
            assert job["progress"]["note"] == "greeting"
            (worker,) = client.get("/workers").json()["items"]
            assert sorted(worker["kinds"]) == ["die", "fail", "greet"]
            metrics = client.get(f"{server.url}/metrics").text
    assert 'vcache_jobs_submitted_total{kind="greet",priority="high"} 1.0' in metrics
    assert 'vcache_jobs_completed_total{kind="greet"} 1.0' in metrics
    assert 'vcache_job_duration_seconds_count{kind="greet"} 1.0' in metrics


def test_dead_letters_and_killed_workers(tmp_path: Path, hands: Path) -> None:
    """What fails for good has its traceback; what killed its worker runs again elsewhere, once its lease is over."""
    marks = tmp_path / "marks"
    with vcache_serve(tmp_path / "store") as server, asking(server) as client:
        died = client.post("/jobs", json={"kind": "die", "payload": {"marks": str(marks)}}).json()["id"]
        with working(hands, server.url):
            until(marks.exists)
            with working(hands, server.url):
                job = ended_job(client, died)
                assert (job["state"], job["result"], job["kills"]) == ("completed", "survived", 1)
                failed = client.post("/jobs", json={"kind": "fail"}).json()["id"]
                job = ended_job(client, failed)
        assert (job["state"], job["failures"][0]["message"]) == ("dead", "ValueError: as it was told")
        assert 'raise ValueError("as it was told")' in job["failures"][0]["traceback"]
        assert [each["id"] for each in client.get("/dead", params={"kind": "fail"}).json()["items"]] == [
            failed
        ]
        assert client.post("/dead/requeue", params={"kind": "fail"}).json() == {"requeued": 1}


def test_jobs_outlive_a_server_that_is_killed(tmp_path: Path, hands: Path) -> None:
    """What was acknowledged is there after a kill -9; a worker that was there before goes on with the next server."""
    store = tmp_path / "store"
    with vcache_serve(store) as server, working(hands, server.url):
        with asking(server) as client:
            until(lambda: client.get("/workers").json()["items"])
            wishes = [{"kind": "greet", "payload": {"who": who}, "delay": 1} for who in ("Ann", "Ben")]
            ids = [client.post("/jobs", json=wish).json()["id"] for wish in wishes]
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        listen = server.url.removeprefix("http://")
        with vcache_serve(store, listen=listen) as again, asking(again) as client:
            jobs = [ended_job(client, job_id) for job_id in ids]
    assert [job["state"] for job in jobs] == ["completed"] * 2


def test_who_is_told_or_waits_is_let_go(tmp_path: Path) -> None:
    """A server that is told to stop ends at once; who was told of a job does not take that for the job's end."""
    with vcache_serve(tmp_path / "store") as server, asking(server) as client, no_hang():
        job_id = client.post("/jobs", json={"kind": "k"}).json()["id"]
        heard: list[str] = []

        def hear() -> None:
            with client.stream("GET", f"/jobs/{job_id}/events") as reply:
                heard.extend(line for line in reply.iter_lines() if line.startswith("event"))

        waited: list[int] = []
        threads = [
            threading.Thread(target=hear),
            threading.Thread(
                target=lambda: waited.append(client.get(f"/jobs/{job_id}", params={"wait": "60"}).status_code)
            ),
        ]
        for thread in threads:
            thread.start()
        running = 'vcache_server_running{dialect="jobs"} 2.0'
        until(lambda: running in client.get(f"{server.url}/metrics").text)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert server.process.wait() == 0
    assert heard == ["event: state"]
    assert waited == [200]


def test_payloads_count_for_quotas(tmp_path: Path) -> None:
    """A namespace that is full takes no more jobs: 507, as for whatever else it holds."""
    file = TokenFile(tmp_path / "tokens.json")
    _, token = file.add(Role.WRITER, "small")
    config = tmp_path / "serve.toml"
    config.write_text('[namespaces.small]\nquota = "1MB"\n')
    options = ("--tokens", tmp_path / "tokens.json", "--config", config)
    with vcache_serve(tmp_path / "store", *options) as server, asking(server, token) as client:
        wish = {"kind": "k", "payload": {"text": "x" * 700_000}}
        assert client.post("/jobs", json=wish).status_code == 201
        assert client.post("/jobs", json=wish).status_code == 507


def test_a_schedule_fires_without_anybody(tmp_path: Path) -> None:
    """The server itself sees to it; also after a restart, before anybody asks."""
    with vcache_serve(tmp_path / "store") as server, asking(server) as client:
        assert (
            client.put(
                "/schedules/tick", json={"kind": "k", "when": "every 1s", "overlap": "allow"}
            ).status_code
            == 201
        )
        until(lambda: client.get("/queues/stats").json()["states"]["queued"] >= 1)
    with vcache_serve(tmp_path / "store") as server, asking(server) as client:
        before = client.get("/queues/stats").json()["states"]["queued"]
        until(lambda: client.get("/queues/stats").json()["states"]["queued"] > before)


def test_a_queue_on_redis_is_served(tmp_path: Path) -> None:
    """`--queue redis://…`: jobs are there, not beside the store; a queue that goes away shows in /readyz."""
    with ExitStack() as redis:
        address = f"redis://127.0.0.1:{redis.enter_context(redis_server(tmp_path / 'redis')).port}/0"
        with vcache_serve(tmp_path / "store", "--queue", address) as server, asking(server) as client:
            job_id = client.post("/jobs", json={"kind": "k"}).json()["id"]
            assert client.get(f"/jobs/{job_id}").json()["state"] == "queued"
            assert not (tmp_path / "store" / "jobs").exists()
            ready = f"{server.url}/readyz"
            assert client.get(ready).status_code == 200
            redis.close()
            until(lambda: client.get(ready).status_code == 503)
            assert "the queue" in client.get(ready).text
            assert client.post("/jobs", json={"kind": "k"}).status_code == 503
