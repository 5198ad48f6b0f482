"""The shield around every network tier: see `guard` for the store, docs/design/network.md for its promises."""

from vcache.store.guard.guard import GuardedStore
from vcache.store.guard.limits import Limits
from vcache.store.guard.opening import guarded
from vcache.store.guard.report import Refusal, Remote, remotes, report_lines
from vcache.store.guard.telemetry import Telemetry

__all__ = [
    "GuardedStore",
    "Limits",
    "Refusal",
    "Remote",
    "Telemetry",
    "guarded",
    "remotes",
    "report_lines",
]
