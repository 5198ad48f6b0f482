"""What a job does, as server-sent events; and what it said."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.unit.server.jobs.conftest import Api
from vcache.jobs.models import Progress
from vcache.logs.record import Record
from vcache.server.jobs import stories

Event = tuple[str, str, Any]


@pytest.fixture(autouse=True)
def no_lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stories, "_LINGER_S", 0.2)


@contextmanager
def told(api: Api, job_id: str, after: str = "") -> Iterator[Iterator[Event]]:
    """Events of a job: kind, id, data."""
    headers = {"authorization": f"Bearer {api.namespace}:reader"} | (
        {"last-event-id": after} if after else {}
    )
    with api.client.stream("GET", f"/jobs/{job_id}/events", headers=headers) as reply:
        assert (reply.status_code, reply.headers["content-type"]) == (200, "text/event-stream")
        yield _events(reply.iter_lines())


def _events(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        else:
            if "data" in fields:
                yield fields["event"], fields.get("id", ""), json.loads(fields["data"])
            fields = {}


def say(api: Api, job_id: str, *messages: str) -> None:
    store = api.server.desk.logs.stores.of(api.namespace)
    store.append([Record(time.time_ns(), 9, "job", message, {"job": job_id}) for message in messages])


def test_a_job_is_told_from_its_start_to_its_end(api: Api) -> None:
    """Its state at once, each change of it, its progress, its log; then the end."""
    job_id = api.submit()
    say(api, job_id, "before")
    session = api.session()
    with told(api, job_id) as events:
        begun = [next(events), next(events)]
        assert {kind for kind, *_ in begun} == {"state", "log"}
        claimed = api.claim(session)
        kind, _, data = next(events)
        assert (kind, data["state"]) == ("state", "running")
        assert "payload" not in data
        api.queue.report(session, job_id, claimed.token, Progress(1.0, 4.0, "going"))
        kind, _, data = next(events)
        assert (kind, data["done"], data["note"]) == ("progress", 1.0, "going")
        say(api, job_id, "during")
        say(api, "another", "of another job")
        kind, event_id, data = next(events)
        assert (kind, data["message"]) == ("log", "during")
        assert event_id
        api.finish(session, claimed)
        rest = list(events)
    assert [(kind, data.get("state")) for kind, _, data in rest] == [("state", "completed"), ("end", None)]


def test_who_comes_again_has_the_rest(api: Api) -> None:
    """With the id of the last record: those behind it; with that of the end: nothing, and no reason to come again."""
    job_id = api.submit()
    say(api, job_id, "one", "two", "three")
    session = api.session()
    api.finish(session, api.claim(session))
    with told(api, job_id) as events:
        heard = list(events)
    logs = [(event_id, data["message"]) for kind, event_id, data in heard if kind == "log"]
    assert [message for _, message in logs] == ["one", "two", "three"]
    assert heard[-1][:2] == ("end", "end")
    with told(api, job_id, after=logs[0][0]) as events:
        assert [data["message"] for kind, _, data in events if kind == "log"] == ["two", "three"]
    headers = {"last-event-id": "end"}
    assert api.ask("GET", f"/jobs/{job_id}/events", headers=headers).status_code == 204


def test_a_log_is_given_whole(api: Api) -> None:
    """As a query for it would: lines of JSON with an end, or text; only what that job said."""
    job_id = api.submit()
    say(api, job_id, "one", "two")
    say(api, "another", "of another job")
    lines = [json.loads(line) for line in api.ask("GET", f"/jobs/{job_id}/log").text.splitlines()]
    assert [line["message"] for line in lines[:-1]] == ["one", "two"]
    assert lines[-1]["@end"]["rows"] == 2
    text = api.ask("GET", f"/jobs/{job_id}/log", params={"format": "text", "last": "1"}).text
    assert "two" in text
    assert "one" not in text
    assert api.ask("GET", f"/jobs/{job_id}/log", params={"format": "xml"}).status_code == 400
    assert api.ask("GET", "/jobs/nobody/log").status_code == 404


def test_a_job_that_is_forgotten_ends_its_story(api: Api) -> None:
    """Whoever is told hears the end, not silence."""
    job_id = api.kill()
    with told(api, job_id) as events:
        assert [kind for kind, *_ in events] == ["state", "end"]
    api.ask("DELETE", "/dead")
    assert api.ask("GET", f"/jobs/{job_id}/events").status_code == 404
