"""Handlers: what a kind of job runs, what it takes, and what the function that runs one may ask and say.

It must not know queues, nor who calls handlers.
"""

from __future__ import annotations

from vcache.jobs.handlers.current import Attempt, current_job
from vcache.jobs.handlers.handler import GiveUp, Handler, RetryLater, handler_of, job
from vcache.jobs.handlers.payload import PayloadUnfit
from vcache.jobs.handlers.registry import Registry

__all__ = [
    "Attempt",
    "GiveUp",
    "Handler",
    "PayloadUnfit",
    "Registry",
    "RetryLater",
    "current_job",
    "handler_of",
    "job",
]
