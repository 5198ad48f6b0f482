"""The API of jobs: what it keeps, shows, changes, and refuses."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.patience import until
from tests.unit.server.jobs.conftest import Api
from vcache.jobs.models import Limits
from vcache.jobs.states import Event, State
from vcache.kit.ids import uuid7


def test_a_job_is_asked_for_shown_and_cancelled(api: Api) -> None:
    """201 with its address; then all that is known of it; then it is cancelled, and no more."""
    said = {
        "kind": "k", "payload": {"raw": {"$bytes": "AAEC"}}, "priority": "high", "delay": "10m", "timeout": 5,
        "retries": 2, "tags": ["a"], "parent": "p", "deadline": "1h", "unique": True, "unique_for": 60,
    }  # fmt: skip
    got = api.ask("POST", "/jobs", json=said)
    assert (got.status_code, got.json()["is_new"]) == (201, True)
    job_id = got.json()["id"]
    assert got.headers["location"] == f"/api/v1/jobs/{job_id}"
    (job,) = api.queue.get([job_id])
    assert job is not None
    assert job.spec.payload == {"raw": b"\0\1\2"}
    assert job.spec.namespace == api.namespace
    shown = api.ask("GET", f"/jobs/{job_id}").json()
    assert (shown["state"], shown["priority"], shown["payload"]) == ("queued", "high", said["payload"])
    assert (shown["timeout_s"], shown["retries"], shown["tags"]) == (5.0, 2, ["a"])
    assert api.ask("DELETE", f"/jobs/{job_id}", params={"why": "no need"}).json() == {"cancelled": [job_id]}
    shown = api.ask("GET", f"/jobs/{job_id}").json()
    assert (shown["state"], shown["why"]) == ("cancelled", "no need")
    assert api.ask("DELETE", f"/jobs/{job_id}").json() == {"cancelled": []}
    assert ("cancel", job_id) in api.server.notes


def test_asking_again_makes_no_second_one(api: Api) -> None:
    """By an id or a unique key: 200, and the id of the one that is there."""
    job_id = uuid7.text()
    first = api.ask("POST", "/jobs", json={"kind": "k", "id": job_id, "payload": {"a": 1}})
    again = api.ask("POST", "/jobs", json={"kind": "k", "id": job_id, "payload": {"a": 1}})
    assert (first.status_code, first.json()) == (201, {"id": job_id, "is_new": True})
    assert (again.status_code, again.json()) == (200, {"id": job_id, "is_new": False})
    other = api.ask("POST", "/jobs", json={"kind": "k", "id": job_id, "payload": {"a": 2}})
    assert other.status_code == 409
    unique = api.ask("POST", "/jobs", json={"kind": "k", "unique": "key"}).json()["id"]
    got = api.ask("POST", "/jobs", json={"kind": "k", "unique": "key"})
    assert (got.status_code, got.json()) == (200, {"id": unique, "is_new": False})
    assert api.queue.stats().totals["k"].submitted == 2


def test_a_batch_is_kept_whole(api: Api) -> None:
    """In its order, whatever waits for what; one that cannot be kept keeps the others from being so."""
    first, second = uuid7.text(), uuid7.text()
    jobs: list[dict[str, Any]] = [{"kind": "b", "id": second, "after": [first]}, {"kind": "a", "id": first}]
    got = api.ask("POST", "/jobs/batch", json={"jobs": jobs})
    assert got.status_code == 201
    assert got.json() == {"jobs": [{"id": second, "is_new": True}, {"id": first, "is_new": True}]}
    states = [job.state for job in api.queue.get([first, second]) if job]
    assert states == [State.QUEUED, State.BLOCKED]
    assert api.ask("POST", "/jobs/batch", json={"jobs": jobs}).status_code == 200
    wrong = api.ask("POST", "/jobs/batch", json={"jobs": [{"kind": "c"}, {"kind": "c", "delai": 1}]})
    assert wrong.status_code == 400
    assert "jobs[1] has an unknown member 'delai'; did you mean 'delay'" in wrong.json()["detail"]
    assert "c" not in api.queue.stats().totals


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no JSON"),
        (b"[]", "the body is a list, not an object"),
        (b"{}", "does not say 'kind'"),
        (b'{"kind":5}', "kind=5 is a whole number; text goes there"),
        (b'{"kind":""}', "kind=''"),
        (b'{"kind":"k","retries":true}', "retries=True is true or false; a whole number goes there"),
        (b'{"kind":"k","payload":{"x":NaN}}', "NaN is no number"),
        (b'{"kind":"k","payload":{"x":18446744073709551616}}', "64 bits"),
        (b'{"kind":"k","payload":{"$bytes":"AA=="}}', "is no object"),
        (b'{"kind":"k","payload":{"x":{"$bytes":"?"}}}', "base64"),
        (b'{"kind":"k","priority":"hihg"}', "did you mean 'high'?"),
        (b'{"kind":"k","delay":"10x"}', "delay"),
        (b'{"kind":"k","delay":1,"not_before":"2030-01-01T00:00:00Z"}', "give one of them"),
        (b'{"kind":"k","not_before":"tomorrow"}', "2026-01-31T12:00:00Z"),
        (b'{"kind":"k","not_before":"9999-01-01T00:00:00Z"}', "too far away"),
        (b'{"kind":"k","not_before":"2030-01-01T00:00:00"}', "zone"),
        (b'{"kind":"k","deadline":"2001-01-01T00:00:00Z"}', "past already"),
        (b'{"kind":"k","id":"me"}', "is no UUID"),
        (b'{"kind":"k","after":"x"}', "a list goes there"),
        (b'{"kind":"k","unique_for":5}', "without unique"),
        (b'{"kind":"k","trace":"x"}', "traceparent"),
        (b'{"kind":"' + b"k" * 1025 + b'"}', "at most 1024"),
        (b'{"kind":"k","payload":' + b'{"a":' * 5000 + b"1" + b"}" * 5001, ""),
    ],
)
def test_what_does_not_fit_is_refused(api: Api, body: bytes, words: str) -> None:
    """400, with the value, the place and what would fit; nothing is kept."""
    got = api.ask("POST", "/jobs", content=body)
    assert (got.status_code, got.headers["content-type"]) == (400, "application/problem+json")
    assert words in got.json()["detail"]
    assert api.queue.stats().totals == {}


def test_sizes_are_bounded(api: Api) -> None:
    """10 MB come through both ways; beyond 32 MiB it is 413, with and without a length."""
    text = "x" * 10_000_000
    job_id = api.submit(payload={"text": text})
    assert api.ask("GET", f"/jobs/{job_id}").json()["payload"] == {"text": text}
    too_long = b'{"kind":"k","payload":{"text":"' + b"x" * (33 << 20) + b'"}}'
    assert api.ask("POST", "/jobs", content=too_long).status_code == 413
    assert api.ask("POST", "/jobs", content=iter([too_long[:1000], too_long[1000:]])).status_code == 413
    assert api.queue.stats().totals["k"].submitted == 1


def test_lists_go_page_by_page(api: Api) -> None:
    """By state and kind, without payloads, until there is no next page."""
    ids = [api.submit("a" if number % 2 else "b", payload={"n": number}) for number in range(5)]
    seen, cursor = [], ""
    while True:
        page = api.ask("GET", "/jobs", params={"state": "queued", "limit": "2", "cursor": cursor}).json()
        seen += [job["id"] for job in page["items"]]
        assert all("payload" not in job for job in page["items"])
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == ids
    of_kind = api.ask("GET", "/jobs", params={"state": "queued", "kind": "a"}).json()["items"]
    assert [job["id"] for job in of_kind] == ids[1::2]
    for wrong in (
        {},
        {"state": "quued"},
        {"state": "queued", "limit": "0"},
        {"state": "queued", "cursor": "x"},
    ):
        assert api.ask("GET", "/jobs", params=wrong).status_code == 400


def test_dead_jobs_have_evidence_and_come_back(api: Api) -> None:
    """Listed with what went wrong; requeued one by one or all of a kind; purged."""
    first, second, other = api.kill(), api.kill(), api.kill("other")
    items = api.ask("GET", "/dead").json()["items"]
    assert {job["id"] for job in items} == {first, second, other}
    assert items[0]["failures"][0]["traceback"] == "Traceback: boom"
    got = api.ask("POST", f"/jobs/{first}/retry", params={"keep_attempts": "true"})
    assert (got.json()["state"], got.json()["attempts"]) == ("queued", 1)
    assert api.ask("POST", f"/jobs/{first}/retry").status_code == 409
    assert api.ask("POST", "/dead/requeue", params={"kind": "k"}).json() == {"requeued": 1}
    shown = api.ask("GET", f"/jobs/{second}").json()
    assert (shown["state"], shown["attempts"]) == ("queued", 0)
    assert api.ask("DELETE", "/dead").json() == {"purged": 1}
    assert api.ask("GET", f"/jobs/{other}").status_code == 404
    assert api.ask("DELETE", "/dead", params={"state": "queued"}).status_code == 400
    assert api.ask("POST", "/jobs/nobody/retry").status_code == 404


def test_numbers_and_workers_are_shown(api: Api) -> None:
    """What waits, by kind and priority; who works; a worker that is ended gives back what it holds."""
    api.submit(priority="critical")
    session = api.session()
    stats = api.ask("GET", "/queues/stats").json()
    assert (stats["waiting"], stats["states"]["queued"]) == ({"k": {"critical": 1}}, 1)
    job_id = api.claim(session).spec.id
    (worker,) = api.ask("GET", "/workers").json()["items"]
    assert (worker["id"], worker["n_held"], worker["kinds"]) == (session, 1, ["k"])
    assert api.ask("DELETE", f"/workers/{session}").json() == {"given_back": [job_id]}
    assert api.ask("DELETE", f"/workers/{session}").status_code == 404
    assert api.ask("GET", "/workers").json() == {"items": []}


def test_kinds_are_limited(api: Api) -> None:
    """Set, shown, and dropped; a number that is none is refused."""
    limits = {"rate": 5.0, "burst": 0.0, "running": 2}
    assert api.ask("PUT", "/queues/limits/k", json=limits).json() == limits
    assert api.queue.limits() == {"k": Limits(5.0, 0.0, 2)}
    assert api.ask("GET", "/queues/limits").json() == {"k": limits}
    assert api.ask("PUT", "/queues/limits/k", json={"rate": -1}).status_code == 400
    api.ask("DELETE", "/queues/limits/k")
    assert api.ask("GET", "/queues/limits").json() == {}


def test_schedules_are_made_paused_and_removed(api: Api) -> None:
    """201 for a new one, 200 for a changed one; what cannot be is refused with what would."""
    said = {
        "kind": "k",
        "when": "daily 02:00",
        "zone": "Europe/Berlin",
        "payload": {"raw": {"$bytes": "AA=="}},
    }
    made = api.ask("PUT", "/schedules/night", json=said)
    assert (made.status_code, made.json()["zone"], made.json()["payload"]) == (
        201,
        said["zone"],
        said["payload"],
    )
    assert api.ask("PUT", "/schedules/night", json={**said, "when": "every 5m"}).status_code == 200
    assert api.ask("POST", "/schedules/night/pause").json()["is_paused"] is True
    assert api.ask("POST", "/schedules/night/resume").json()["is_paused"] is False
    fired = api.ask("POST", "/schedules/night/run")
    assert fired.status_code == 201
    assert api.ask("GET", f"/jobs/{fired.json()['id']}").json()["parent"] == "schedule/night"
    assert [each["name"] for each in api.ask("GET", "/schedules").json()["items"]] == ["night"]
    for wrong in ({"when": "now and then"}, {"zone": "Mars"}, {"kind": ""}, {"wen": "x"}, {"tags": [1]}):
        assert api.ask("PUT", "/schedules/night", json={**said, **wrong}).status_code == 400
    assert api.ask("DELETE", "/schedules/night").status_code == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/run")):
        assert api.ask(method, f"/schedules/night{path}").status_code == 404


def test_an_end_is_waited_for(api: Api) -> None:
    """`wait` answers when the job has ended, and with it as it is when that takes longer."""
    job_id = api.submit()
    assert api.ask("GET", f"/jobs/{job_id}", params={"wait": "1"}).json()["state"] == "queued"
    session, answers = api.session(), []
    asking = threading.Thread(
        target=lambda: answers.append(api.ask("GET", f"/jobs/{job_id}", params={"wait": "60"}).json())
    )
    asking.start()
    until(lambda: api.server.desk._watches)
    api.finish(session, api.claim(session), result={"raw": b"\0"})
    asking.join()
    assert (answers[0]["state"], answers[0]["result"]) == ("completed", {"raw": {"$bytes": "AA=="}})


ROLES = ("nobody", "reader", "writer", "builder", "admin")
FREE = {
    ("GET", "/jobs?state=queued"): "reader", ("POST", "/jobs"): "writer", ("POST", "/jobs/batch"): "writer",
    ("GET", "/jobs/{id}"): "reader", ("DELETE", "/jobs/{id}"): "writer", ("POST", "/jobs/{id}/retry"): "writer",
    ("GET", "/jobs/{id}/log"): "reader", ("GET", "/dead"): "reader", ("DELETE", "/dead"): "builder",
    ("POST", "/dead/requeue"): "writer", ("GET", "/queues/stats"): "reader", ("GET", "/queues/limits"): "reader",
    ("PUT", "/queues/limits/k"): "builder", ("DELETE", "/queues/limits/k"): "builder", ("GET", "/workers"): "reader",
    ("DELETE", "/workers/x"): "builder", ("GET", "/schedules"): "reader", ("PUT", "/schedules/x"): "writer",
    ("GET", "/schedules/x"): "reader", ("DELETE", "/schedules/x"): "writer", ("POST", "/schedules/x/pause"): "writer",
    ("POST", "/schedules/x/run"): "writer", ("POST", "/schedules/x/resume"): "writer",
    ("GET", "/jobs/{id}/events"): "reader",
}  # fmt: skip


@pytest.mark.parametrize(("method", "path"), FREE, ids=lambda each: each.replace("/", "-"))
def test_roles_are_heeded(api: Api, method: str, path: str) -> None:
    """Who has a lower role than it takes is refused, before anything is read or changed."""
    job_id = api.submit()
    for role in ROLES[: ROLES.index(FREE[method, path])]:
        got = api.ask(method, path.format(id=job_id), role=role, content=b"{}")
        assert got.status_code == (401 if role == "nobody" else 403), (role, got.text)
    (job,) = api.queue.get([job_id])
    assert job is not None
    assert job.state is State.QUEUED


def test_namespaces_never_meet(api: Api, stranger: Api) -> None:
    """Who has a token of another namespace sees, cancels and requeues nothing, whatever the way."""
    dead, job_id = api.kill(), api.submit()
    session = api.session()
    other = stranger
    for method, path in (
        ("GET", f"/jobs/{job_id}"), ("DELETE", f"/jobs/{job_id}"), ("POST", f"/jobs/{dead}/retry"),
        ("GET", f"/jobs/{job_id}/events"), ("GET", f"/jobs/{job_id}/log"), ("DELETE", f"/workers/{session}"),
    ):  # fmt: skip
        assert other.ask(method, path).status_code == 404
    assert other.ask("GET", "/jobs", params={"state": "queued"}).json()["items"] == []
    assert other.ask("GET", "/dead").json()["items"] == []
    assert other.ask("POST", "/dead/requeue").json() == {"requeued": 0}
    assert other.ask("DELETE", "/dead").json() == {"purged": 0}
    assert other.ask("GET", "/workers").json()["items"] == []
    assert (job_id in other.ask("GET", "/queues/stats").text, api.namespace in other.ask("GET", "/jobs").text) == (
        False, False,
    )  # fmt: skip
    assert [job and job.state for job in api.queue.get([job_id, dead])] == [State.QUEUED, State.DEAD]


def test_methods_and_paths_that_are_not_there(api: Api) -> None:
    """405 says which are; 404 for the rest."""
    got = api.ask("PUT", "/jobs")
    assert (got.status_code, got.headers["allow"]) == (405, "GET, POST, HEAD")
    assert api.ask("GET", "/queues").status_code == 404
    assert api.ask("GET", "/jobs/x/y").status_code == 404


def test_metrics_are_of_who_may_see_them(api: Api) -> None:
    """Depths and totals from the queue's own counts; admins see all, others their own namespace's."""
    from vcache.metrics import exposition
    from vcache.server.callers import Caller, Role

    kind = f"kind-{api.namespace}"
    api.submit(kind, priority="high")
    session = api.session()
    remote = api.server.queue(api.namespace)
    api.submit(kind)
    mine = remote.open_session("w", kinds=[kind], lease_s=10)
    (claimed,) = remote.exchange(mine, kinds=[kind], want=1).claimed
    from vcache.jobs.base import Finished

    remote.exchange(mine, [Finished(claimed, Event.COMPLETE)])
    remote.close()
    assert session

    def text(namespace: str, role: Role) -> str:
        return exposition(api.server.desk.families(Caller("t", role, namespace))).decode()

    own = text(api.namespace, Role.READER)
    for line in (
        f'vcache_jobs_submitted_total{{kind="{kind}",priority="high"}} 1.0',
        f'vcache_jobs_completed_total{{kind="{kind}"}} 1.0',
        f'vcache_queue_depth{{kind="{kind}",priority="medium"}} 1.0',
        f'vcache_job_duration_seconds_count{{kind="{kind}"}} 1.0',
        f'vcache_job_wait_seconds_count{{kind="{kind}"}} 1.0',
        "vcache_active_jobs 0.0", "vcache_dlq_depth 0.0",
    ):  # fmt: skip
        assert line in own
    assert kind in text("other", Role.ADMIN)
    assert kind not in text("other", Role.READER)
