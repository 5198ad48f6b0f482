"""What OpenAPI says of the API of jobs: operations, schemas, parameters. Data only."""

from __future__ import annotations

from typing import Final

from vcache.jobs.models import Priority
from vcache.jobs.states import ENDED, State
from vcache.server.api.openapi import Additions, Operation, Schema, object_schema

__all__ = ["JOBS"]

_PAGE: Final = ("kind", "limit", "cursor")
_OPERATIONS: Final = (
    Operation("post", "/jobs", "submit_job",
              "Ask for a job. 200 with the id of the one that is there, where its `id` or its unique key is known.",
              "Submitted", 201, "JobWish", refusals=(200, 409, 413, 429, 507)),
    Operation("post", "/jobs/batch", "submit_jobs", "Ask for many jobs, all or none of which are kept.",
              "SubmittedAll", 201, "BatchWish", refusals=(200, 409, 413, 429, 507)),
    Operation("get", "/jobs", "list_jobs", "A page of the jobs of a state.", "Jobs", parameters=("state", *_PAGE)),
    Operation("get", "/jobs/{id}", "show_job", "A job; with `wait`, when it has ended or that time is over.", "Job",
              parameters=("wait",), refusals=(404, 429)),
    Operation("delete", "/jobs/{id}", "cancel_job", "Cancel a job, queued or running, and what waits for it.",
              "Cancelled", parameters=("why",), refusals=(404, 409)),
    Operation("post", "/jobs/{id}/retry", "retry_job", "Let a dead or cancelled job, or one in retry, run now.",
              "JobOutline", parameters=("keep_attempts",), refusals=(404, 409, 413)),
    Operation("get", "/jobs/{id}/events", "job_events",
              "What a job does, as server-sent events `state`, `progress`, `log` and `end`.", "events",
              parameters=("after", "last-event-id"), refusals=(204, 404, 429)),
    Operation("get", "/jobs/{id}/log", "job_log", "What a job said, in all its attempts: a line for each record.",
              "rows", parameters=("last", "timeout", "format"), refusals=(404, 429)),
    Operation("get", "/dead", "list_dead", "A page of dead jobs, with the evidence.", "Jobs", parameters=_PAGE),
    Operation("delete", "/dead", "purge_jobs", "Forget ended jobs. For builders.", "Purged",
              parameters=("kind", "ended-state", "before_ns")),
    Operation("post", "/dead/requeue", "requeue_dead", "Let all dead jobs, or those of a kind, run again.",
              "Requeued", parameters=("kind", "keep_attempts"), refusals=(413,)),
    Operation("get", "/queues/stats", "queue_stats", "What the queue holds.", "QueueStats"),
    Operation("get", "/queues/limits", "queue_limits", "What workers together may do, by kind.", "AllLimits"),
    Operation("put", "/queues/limits/{name}", "limit_kind", "Limit a kind. For builders.", "Limits", body="Limits",
              refusals=(413, 429, 507)),
    Operation("delete", "/queues/limits/{name}", "unlimit_kind", "Limit a kind no more. For builders.", "Limits"),
    Operation("get", "/workers", "list_workers", "The processes that work.", "Workers"),
    Operation("delete", "/workers/{id}", "end_worker",
              "Give what a process holds to others; what it says of that will be refused. For builders.",
              "GivenBack", refusals=(404,)),
    Operation("get", "/schedules", "list_schedules", "All schedules.", "Schedules"),
    Operation("get", "/schedules/{name}", "show_schedule", "A schedule.", "Schedule", refusals=(404,)),
    Operation("put", "/schedules/{name}", "put_schedule", "Make or redefine a schedule.", "Schedule", 201,
              "ScheduleWish", refusals=(200, 413, 429, 507)),
    Operation("delete", "/schedules/{name}", "remove_schedule", "Forget a schedule, not its jobs.", "", 204,
              refusals=(404,)),
    Operation("post", "/schedules/{name}/pause", "pause_schedule", "Let its ticks pass without a job.", "Schedule",
              refusals=(404, 413)),
    Operation("post", "/schedules/{name}/resume", "resume_schedule", "Fire again, from the next tick on.",
              "Schedule", refusals=(404, 413)),
    Operation("post", "/schedules/{name}/run", "run_schedule", "Submit its job at once.", "Submitted", 201,
              refusals=(404, 413)),
)  # fmt: skip

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
_COUNT: Final = {"type": "integer", "minimum": 0}
_NUMBER: Final = {"type": "number"}
_TIME: Final = {"type": "integer", "minimum": 0, "description": "UTC epoch nanoseconds; 0 for none"}
_FLAG: Final = {"type": "boolean"}
_STATE: Final = {"type": "string", "enum": [str(state) for state in State]}
_PRIORITY: Final = {"type": "string", "enum": [priority.name.lower() for priority in Priority]}
_PAYLOAD: Final = {"type": "object", "description": 'arguments by name; bytes are {"$bytes": BASE64}'}
_SPAN: Final = {
    "anyOf": [{"type": "number", "minimum": 0.001, "maximum": 1e6}, {"type": "string", "pattern": "^[1-9][0-9]{0,3}[smhd]$"}],
    "description": "seconds, or text such as 10s, 5m, 2h",
}  # fmt: skip
_UUID: Final = {
    "type": "string",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    "description": "for asking again without making a second one",
}
_WISHED: Final[dict[str, Schema]] = {
    "id": _UUID, "kind": {"type": "string", "minLength": 1, "maxLength": 1024}, "payload": _PAYLOAD,
    "priority": _PRIORITY, "delay": _SPAN,
    "not_before": {"type": "string", "description": "in place of a delay: 2026-01-31T12:00:00Z"},
    "deadline": {**_SPAN, "description": "when it must have started: a time, or how long from here on"},
    "timeout": _SPAN, "retries": {"type": "integer", "minimum": 0, "maximum": 1_000_000},
    "unique": {"type": ["string", "boolean"], "maxLength": 1024, "description": "a key; true: the payload's digest"},
    "unique_for": _SPAN, "after": {**_TEXTS, "description": "ids of what must have completed before"},
    "parent": {"type": "string", "maxLength": 1024}, "tags": _TEXTS,
    "trace": {"type": "string", "description": "a traceparent; else the request's header"},
}  # fmt: skip
_PROGRESS: Final = object_schema({"done": _NUMBER, "total": _NUMBER, "note": _TEXT, "at_ns": _TIME})
_FAILURE: Final = object_schema({
    "at_ns": _TIME, "attempt": _COUNT, "reason": _TEXT, "message": _TEXT, "traceback": _TEXT, "worker": _TEXT,
})  # fmt: skip
_OUTLINE: Final[dict[str, Schema]] = {
    "id": _TEXT, "kind": _TEXT, "state": _STATE, "priority": _PRIORITY, "attempts": _COUNT, "kills": _COUNT,
    "created_ns": _TIME, "not_before_ns": _TIME, "deadline_ns": _TIME, "due_ns": _TIME, "started_ns": _TIME,
    "finished_ns": _TIME, "timeout_s": _NUMBER, "retries": {"type": "integer", "minimum": -1}, "unique": _TEXT,
    "unique_s": _NUMBER, "after": _TEXTS, "parent": _TEXT, "tags": _TEXTS, "trace": _TEXT, "worker": _TEXT,
    "progress": {"anyOf": [_PROGRESS, {"type": "null"}]}, "failures": {"type": "array", "items": _FAILURE},
    "why": _TEXT, "log": {"type": "string", "description": "the query that finds what it said"},
}  # fmt: skip
_LIMITS: Final = object_schema(
    {
        "rate": {
            "type": "number",
            "minimum": 0,
            "maximum": 1e9,
            "description": "starts per second; 0 for any",
        },
        "burst": {"type": "number", "minimum": 0, "maximum": 1e9},
        "running": {"type": "integer", "minimum": 0, "maximum": 1_000_000_000},
    },
    optional=("rate", "burst", "running"),
)
_WORKER: Final = object_schema({
    "id": _TEXT, "worker": _TEXT, "kinds": _TEXTS, "n_held": _COUNT, "lease_s": _NUMBER, "beats": _COUNT,
})  # fmt: skip
_TOTALS: Final = {"type": "object", "additionalProperties": _COUNT}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _all_of(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


_SCHEMAS: Final[dict[str, Schema]] = {
    "JobWish": object_schema(_WISHED, optional=[name for name in _WISHED if name != "kind"]),
    "BatchWish": object_schema(
        {"jobs": {"type": "array", "minItems": 1, "maxItems": 10_000, "items": _ref("JobWish")}}
    ),
    "Submitted": object_schema({"id": _TEXT, "is_new": _FLAG}),
    "SubmittedAll": object_schema({"jobs": _all_of("Submitted")}),
    "JobOutline": object_schema(_OUTLINE),
    "Job": object_schema({**_OUTLINE, "payload": _PAYLOAD, "result": {}}),
    "Jobs": object_schema({"items": _all_of("JobOutline"), "next": {"type": ["string", "null"]}}),
    "Cancelled": object_schema({"cancelled": _TEXTS}),
    "Purged": object_schema({"purged": _COUNT}),
    "Requeued": object_schema({"requeued": _COUNT}),
    "GivenBack": object_schema({"given_back": _TEXTS}),
    "QueueStats": object_schema({
        "states": _TOTALS, "waiting": {"type": "object", "additionalProperties": _TOTALS}, "delayed": _COUNT,
        "oldest_ns": _TIME, "totals": {"type": "object", "additionalProperties": _TOTALS}, "workers": _COUNT,
        "queue": object_schema({"is_durable": _FLAG, "namespace": _TEXT}),
    }),
    "Limits": _LIMITS,
    "AllLimits": {"type": "object", "additionalProperties": _ref("Limits")},
    "Worker": _WORKER,
    "Workers": object_schema({"items": _all_of("Worker")}),
    "ScheduleWish": object_schema(
        {
            "kind": {"type": "string", "minLength": 1}, "payload": _PAYLOAD,
            "when": {"type": "string", "description": "a cron expression, `every 30s`, or `daily 02:00`"},
            "zone": {"type": "string", "default": "UTC"}, "priority": _PRIORITY,
            "misfire": {"type": "string", "enum": ["skip", "once", "all"]},
            "overlap": {"type": "string", "enum": ["skip", "allow"]}, "spread": _SPAN, "timeout": _SPAN,
            "retries": {"type": "integer", "minimum": 0, "maximum": 1_000_000},
            "tags": {"type": "array", "items": {"type": "string", "minLength": 1}},
        },
        optional=("payload", "zone", "priority", "misfire", "overlap", "spread", "timeout", "retries", "tags"),
    ),
    "Schedule": {"type": "object", "required": ["name", "kind", "when", "is_paused", "next_ns"], "properties": {
        "name": _TEXT, "kind": _TEXT, "when": _TEXT, "zone": _TEXT, "is_paused": _FLAG, "payload": _PAYLOAD,
        "next_ns": {"type": ["integer", "null"], "description": "when it fires next; null while it is paused"},
    }},
    "Schedules": object_schema({"items": _all_of("Schedule")}),
}  # fmt: skip

_PARAMETERS: Final[dict[str, dict[str, object]]] = {
    "state": {"in": "query", "required": True, "schema": _STATE},
    "ended-state": {"name": "state", "in": "query", "description": "dead where it is left out",
                    "schema": {"type": "string", "enum": sorted(str(state) for state in ENDED)}},
    "kind": {"in": "query", "schema": _TEXT, "description": "of this kind only"},
    "limit": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
    "cursor": {"in": "query", "schema": _TEXT, "description": "the `next` of the page before"},
    "wait": {"in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": 60, "default": 0},
             "description": "seconds to wait for its end"},
    "why": {"in": "query", "schema": _TEXT, "description": "shown with the job"},
    "keep_attempts": {"in": "query", "schema": _FLAG, "description": "count on, instead of from 0"},
    "before_ns": {"in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": (1 << 63) - 1},
                  "description": "only what ended before, in UTC epoch nanoseconds"},
    "after": {"in": "query", "schema": _TEXT, "description": "go on after the event with this id"},
    "last-event-id": {"in": "header", "schema": _TEXT, "description": "the same, as browsers send it"},
    "last": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
             "description": "the last so many records"},
    "timeout": {"in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 300, "default": 30}},
    "format": {"in": "query",
               "schema": {"type": "string", "enum": ["json", "text", "csv", "logfmt"], "default": "json"}},
}  # fmt: skip

JOBS: Final = Additions(_OPERATIONS, _SCHEMAS, _PARAMETERS)
"""What is said of jobs beside the rest of the API."""
