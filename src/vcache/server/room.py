"""What stands behind all listeners of a server: the store, who looks after it, who may use it.

It knows every part by its front and does none of their work. It must not know HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

from vcache.kit.deadlines import Within
from vcache.logs.retention import Rules
from vcache.logs.settings import rules_of
from vcache.server.audit import AuditLog
from vcache.server.auth import Authenticator
from vcache.server.callers import Caller
from vcache.server.counts import Counts
from vcache.server.exchange import Desk
from vcache.server.jobs.desk import JobDesk
from vcache.server.jobs.places import queues_of
from vcache.server.logs.desk import LogDesk
from vcache.server.logs.shelf import Shelf
from vcache.server.office import audit_in, uploads_in
from vcache.server.quotas import Quotas
from vcache.server.settings import ServeSettings
from vcache.server.tokens import TokenFile
from vcache.server.vault import Kept, Vault
from vcache.store.base import Store
from vcache.store.tiers import mark_foreign
from vcache.store.url import open_store
from vcache.upkeep import Counts as CacheCounts
from vcache.upkeep import Upkeep

__all__ = ["Room", "builders_only", "log_rules", "quotas"]

_log: Final = logging.getLogger("vcache.server")


class Room:
    """What stands behind all listeners: the store and who looks after it.

    Args:
        stack: closes it again, in the order that loses nothing.
    """

    def __init__(self, settings: ServeSettings, stack: contextlib.ExitStack) -> None:
        self.store = _opened(settings)
        stack.callback(self.store.close)
        mark_foreign(getattr(self.store, "tiers", (self.store,)))
        self.counts = Counts()
        self.tally = CacheCounts()
        self.upkeep = Upkeep(self.store, self.tally, spare_used_s=settings.lease_s)
        stack.callback(self._close_upkeep)
        self.vault = Vault(self.store, after_put=self.upkeep.after_put)
        disk = next(
            (tier for tier in getattr(self.store, "tiers", (self.store,)) if hasattr(tier, "directory")), None
        )
        self.directory: Path | None = None if disk is None else disk.directory
        self.pool = ThreadPoolExecutor(settings.threads, "vcache-store")
        stack.callback(self.pool.shutdown)
        self.uploads = _uploads(self.directory, stack)
        tokens = settings.token_file()
        self.tokens = None if tokens is None else TokenFile(tokens)
        self.authenticator = Authenticator(
            None if self.tokens is None else self.tokens.rows(),
            master=b"" if self.tokens is None else self.tokens.master(),
            builders_only=builders_only(settings),
        )
        self.quotas = Quotas(self.store, quotas(settings))
        self.audit: AuditLog | None = None
        if settings.is_audited and self.directory is not None and not self.store.info.is_read_only:
            self.audit = AuditLog(audit_in(self.directory))
            stack.callback(self.audit.close)
        self.deadline_s = settings.deadline_s
        self.logs = LogDesk(
            self.directory,
            stack,
            shelf=partial(Shelf, near=disk or self.store, store=self.store, admit=self.quotas.admit),
            rules=log_rules(settings),
            note=self._note_logs,
            grown=self.quotas.add,
            is_read_only=self.store.info.is_read_only,
        )
        self.quotas.also(self.logs.stores.size_bytes)
        self.jobs = JobDesk(
            queues_of(settings.queue, self.directory),
            stack,
            note=self._note_jobs,
            grown=self.quotas.add,
            logs=self.logs,
            fires=settings.has_schedules,
            is_read_only=self.store.info.is_read_only,
        )
        self.quotas.also(self.jobs.queues.size_bytes)
        self._count_namespaces()
        self.desk = Desk(
            vault=self.vault,
            limit_bytes=settings.limit_bytes,
            directory=self.uploads,
            run=self.run,
            admit=self._admit,
            note=self._note,
        )

    def run(self, work: Callable[..., Any], *arguments: object) -> Awaitable[Any]:
        """What blocks, on a thread, and within the deadline where it may cross a network."""
        if not self.vault.is_local:
            work, arguments = partial(_within, self.deadline_s, work, *arguments), ()
        return asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)

    def _count_namespaces(self) -> None:
        """Know before the first PUT what namespaces hold: the event loop must not wait for a walk."""
        rows = {} if self.tokens is None else self.tokens.rows()
        for namespace in {row.namespace for row in rows.values()} | {""}:
            if self.quotas.limit_of(namespace) is not None:
                self.quotas.recount(namespace)

    def flush(self) -> None:
        """Add what was counted to the totals that `vcache stats` shows."""
        tally = self.tally
        tally.hits, tally.misses, tally.puts, tally.saved_ns = self.counts.sums()
        self.upkeep.flush()

    def _close_upkeep(self) -> None:
        self.flush()
        self.upkeep.close()

    def _admit(self, caller: Caller, length_bytes: int | None) -> None:
        self.quotas.admit(caller.namespace, length_bytes)

    def _note_logs(self, caller: Caller, action: str, name: str) -> None:
        self._note(caller, action, "logs", "", name, None)

    def _note_jobs(self, caller: Caller, action: str, name: str) -> None:
        self._note(caller, action, "jobs", "", name, None)

    def namespaces(self) -> Iterable[str]:
        """All that are known: those of the tokens, or the one of a server that is open."""
        return {""} if self.tokens is None else {row.namespace for row in self.tokens.rows().values()}

    def _note(
        self, caller: Caller, action: str, dialect: str, realm: str, name: str | bytes, kept: Kept | None
    ) -> None:
        if kept is not None:
            self.quotas.add(caller.namespace, kept.grown_bytes)
        if self.audit is None:
            return
        fields: dict[str, str | int] = {
            "token": caller.token,
            "namespace": caller.namespace,
            "dialect": dialect if not realm or realm == dialect else f"{dialect}/{realm}",
            "name": name if isinstance(name, str) else name.hex(),
        }
        if kept is not None:
            fields |= {"digest": kept.digest.hex(), "size_bytes": kept.size_bytes}
        try:
            self.audit.append(action, fields)
        except OSError as error:  # its next line says how many are lost
            _log.error("the audit log cannot be written: %s", error)


def builders_only(settings: ServeSettings) -> frozenset[str]:
    """The namespaces whose results only builders write."""
    return frozenset(name for name, rule in settings.namespaces.items() if rule.results_by_builders)


def log_rules(settings: ServeSettings) -> Rules:
    """What is dropped of the logs of each namespace."""
    return rules_of(settings.logs_keep, max_bytes=settings.logs_max_bytes, max_age_s=settings.logs_max_age_s)


def quotas(settings: ServeSettings) -> Mapping[str, int]:
    """What namespaces may hold; "*" is for all others."""
    limits = {
        name: rule.quota_bytes for name, rule in settings.namespaces.items() if rule.quota_bytes is not None
    }
    return limits if settings.quota_bytes is None else {"*": settings.quota_bytes, **limits}


def _opened(settings: ServeSettings) -> Store:
    if settings.store is not None:
        return open_store(settings.store)
    from vcache.store.disk import DiskStore

    return DiskStore(
        settings.dir,
        max_bytes=settings.max_bytes,
        max_entries=settings.max_entries,
        max_age_s=settings.max_age_s,
    )


def _uploads(directory: Path | None, stack: contextlib.ExitStack) -> Path:
    """Where long bodies wait: beside the blobs, so that they can become some."""
    if directory is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vcache-serve-")))
    uploads = uploads_in(directory)
    uploads.mkdir(parents=True, exist_ok=True)
    fd = os.open(uploads, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    with contextlib.suppress(OSError):  # a file system without locks: nothing is known to be abandoned
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # another server takes bodies in
        else:
            for left in uploads.iterdir():  # of a server that was killed
                left.unlink(missing_ok=True)
        fcntl.flock(fd, fcntl.LOCK_SH)
    return uploads


def _within(deadline_s: float, work: Callable[..., Any], *arguments: object) -> Any:
    with Within(deadline_s):
        return work(*arguments)
