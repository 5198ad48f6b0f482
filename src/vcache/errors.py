"""Every error that vcache raises, in one tree.

    VcacheError
    ├── UsageError (ValueError)          a call that cannot mean anything: the value, the place, the remedy
    │   ├── ConfigError                  a setting, a URL or an environment variable
    │   ├── FingerprintError (TypeError) an input or argument that has no fingerprint
    │   ├── GraphError                   a build file or graph that is wrong: a cycle, an unknown target
    │   ├── QueryError                   a query of logs that is none, or asks for too much
    │   └── UnsafePath                   an output name that would leave its target directory
    ├── SerializeError
    │   ├── EncodeError (TypeError)      a value that no codec takes
    │   └── DecodeError                  stored bytes that are not what they claim to be
    ├── NodeFailed                       a node of a build could not be made
    ├── JobFailed                        a job whose result was waited for is dead or cancelled
    ├── SessionLost                      a worker's lease was ended: what it held is given to others
    ├── StoreError                       `.retryable` answers: does trying again help?
    │   ├── StoreClosed                  used after close()
    │   ├── StoreReadOnly                the store takes no writes
    │   ├── StoreFull                    no space, or no descriptors, left
    │   ├── StoreBusy                    a lock was not had in time (retryable)
    │   ├── StoreUnavailable             it does not answer (retryable)
    │   └── FormatError                  a directory in a foreign or newer format
    └── StepError                        a remembered exception whose own class cannot be rebuilt

Absence is never an error: a miss is a default. Corruption is a miss, a counter and a
quarantined object.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DecodeError",
    "EncodeError",
    "FingerprintError",
    "FormatError",
    "GraphError",
    "JobFailed",
    "NodeFailed",
    "QueryError",
    "SerializeError",
    "SessionLost",
    "StepError",
    "StoreBusy",
    "StoreClosed",
    "StoreError",
    "StoreFull",
    "StoreReadOnly",
    "StoreUnavailable",
    "UnsafePath",
    "UsageError",
    "VcacheError",
]


class VcacheError(Exception):
    """The root of the tree."""


class UsageError(VcacheError, ValueError):
    """A call that cannot mean anything. The message shows the value and the remedy."""


class ConfigError(UsageError):
    """A setting that is unknown or does not fit. The message names where it was read."""


class FingerprintError(UsageError, TypeError):
    """An input or argument without a stable identity. The message names it."""


class GraphError(UsageError):
    """A build file or a graph that is wrong. The message names the place and the remedy."""


class QueryError(UsageError):
    """A query of logs that is none, or asks for too much. The message shows the place.

    Attributes:
        position: of the place in the query, in characters; -1 where there is none.
    """

    position = -1


class UnsafePath(UsageError):
    """An output name that is absolute, climbs out of its root, or passes through a link."""


class SerializeError(VcacheError):
    """A value and its bytes do not go together."""


class EncodeError(SerializeError, TypeError):
    """No codec takes this value. The message gives the path to the part that failed."""


class DecodeError(SerializeError):
    """Bytes that are truncated, too large, or not of the format they claim."""


class NodeFailed(VcacheError):
    """A node of a build could not be made. The message names it and says how it failed."""


class JobFailed(VcacheError):
    """A job is dead or cancelled. The message names it and says why."""


class SessionLost(VcacheError):
    """A worker's session was ended, as its lease ran out: what it held is given to others."""


class StoreError(VcacheError):
    """A store could not do what was asked."""

    retryable = False


class StoreClosed(StoreError):
    """The store was used after `close()`."""


class StoreReadOnly(StoreError):
    """The store takes no writes: by configuration, or because its directory does not."""


class StoreFull(StoreError):
    """No space, no quota or no file descriptor was left. What was stored before is intact."""


class StoreBusy(StoreError):
    """A lock was not had before the deadline."""

    retryable = True


class StoreUnavailable(StoreError):
    """The store does not answer."""

    retryable = True


class FormatError(StoreError):
    """The directory holds a cache of a foreign or newer format. It is left untouched."""


class StepError(VcacheError):
    """A cached exception whose own class cannot be rebuilt here."""
