"""What a look-up comes to: frozen data, no I/O."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from vcache.entry import Dep, Entry

__all__ = ["Hit", "Miss", "Reason"]


class Reason(Enum):
    """Why a look-up found nothing to use."""

    ABSENT = "absent"  # never stored, deleted or evicted
    EXPIRED = "expired"  # its time to live is over
    STALE = "stale"  # something it depends on changed
    CORRUPT = "corrupt"  # stored bytes that cannot be read back
    REFUSED = "refused"  # of a kind that this cache was not opened to read, such as a pickle
    UNREACHABLE = "unreachable"  # the store failed
    DISABLED = "disabled"  # caching is switched off


@dataclass(frozen=True, slots=True)
class Hit:
    """A value that may be used. True in a condition.

    Attributes:
        tier: the name of the tier that answered.
        entry: everything known of the value.
        value: the value; for a remembered exception, the exception.
        is_expired: served beyond its time to live, because `stale` allows it.
    """

    tier: str
    entry: Entry
    value: object
    is_expired: bool = False

    def use(self) -> object:
        """The value.

        Raises:
            Exception: the value, where it is a remembered exception.
        """
        if isinstance(self.value, Exception) and self.entry.is_error:
            raise self.value
        return self.value

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Miss:
    """No value, and why. False in a condition.

    Attributes:
        reason: the kind of miss.
        detail: a sentence for people.
        dep: the changed dependency of a stale entry.
        entry: the entry that was there but is of no use, if any.
    """

    reason: Reason
    detail: str = ""
    dep: Dep | None = None
    entry: Entry | None = None

    def __bool__(self) -> bool:
        return False
