"""What tests of stores and of code around caches need; shipped to third parties.

The hypothesis machines are `vcache.testing.machine.store_machine` and `vcache.testing.queue_machine`:
imported on their own, since hypothesis takes half a second to load.
"""

import pytest

# Before the import, or a failing assertion of the suite would not show its values.
pytest.register_assert_rewrite(
    *(
        f"vcache.testing.{name}"
        for name in ("expect", "logs", "machine", "powers", "queue_laws", "queue_machine", "queues", "stores")
    )
)

from vcache.testing.clock import FakeClock  # noqa: E402 - after the registration above
from vcache.testing.faults import FaultyStore, flip_bit, flip_stored  # noqa: E402
from vcache.testing.logs import LogStoreTests  # noqa: E402
from vcache.testing.powers import (  # noqa: E402
    BatchesTests,
    CollectableTests,
    DamageTests,
    FilesTests,
    ListingTests,
    PersistentTests,
    PresenceTests,
    VerifiableTests,
    WatchedTests,
)
from vcache.testing.queues import QueueTests  # noqa: E402
from vcache.testing.records import make_record  # noqa: E402
from vcache.testing.stores import StoreTests  # noqa: E402

__all__ = [
    "BatchesTests",
    "CollectableTests",
    "DamageTests",
    "FakeClock",
    "FaultyStore",
    "FilesTests",
    "ListingTests",
    "LogStoreTests",
    "PersistentTests",
    "PresenceTests",
    "QueueTests",
    "StoreTests",
    "VerifiableTests",
    "WatchedTests",
    "flip_bit",
    "flip_stored",
    "make_record",
]
