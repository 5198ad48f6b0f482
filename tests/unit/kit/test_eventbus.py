from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest

from vcache.errors import UsageError
from vcache.kit.eventbus import EventBus


class Event:
    pass


@dataclass(frozen=True)
class Began(Event):
    number: int = 0


@dataclass(frozen=True)
class Ended(Event):
    pass


def test_everybody_is_told_in_order() -> None:
    """listeners get events in the order of subscription, each event whole before the next"""
    bus: EventBus[Event] = EventBus()
    told: list[tuple[str, Event]] = []
    bus.subscribe(lambda event: told.append(("first", event)))
    bus.subscribe(lambda event: told.append(("second", event)))
    bus.publish(Began())
    bus.publish(Ended())
    assert told == [("first", Began()), ("second", Began()), ("first", Ended()), ("second", Ended())]


def test_a_listener_names_the_types_it_wants() -> None:
    """only events of the named classes and their subclasses reach it"""
    bus: EventBus[Event] = EventBus()
    ends: list[Event] = []
    all_of_them: list[Event] = []
    bus.subscribe(ends.append, Ended)
    bus.subscribe(all_of_them.append, Event)
    for event in (Began(), Ended(), Began()):
        bus.publish(event)
    assert ends == [Ended()]
    assert len(all_of_them) == 3


def test_who_raises_is_dropped_with_one_warning(caplog) -> None:
    """the others are told all the same, the one that raised is named once, closed, and told no more"""
    bus: EventBus[Event] = EventBus()
    calls: list[Event] = []
    told: list[Event] = []
    closed: list[str] = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise ValueError("no more room")

    bus.subscribe(broken, name="the journal", close=lambda: closed.append("broken"))
    bus.subscribe(told.append)
    with caplog.at_level(logging.WARNING, "vcache"):
        bus.publish(Began(1))
        bus.publish(Began(2))
    assert (calls, told, closed) == ([Began(1)], [Began(1), Began(2)], ["broken"])
    (record,) = caplog.records
    assert record.getMessage() == "the journal failed and is told nothing more: ValueError: no more room"
    assert record.exc_info is None


def test_a_drop_may_be_heard_instead() -> None:
    """the owner of a bus may take the name and the error in place of the warning"""
    heard = []
    bus: EventBus[Event] = EventBus(on_drop=lambda name, error: heard.append((name, str(error))))

    class Listener:
        def on_event(self, event: Event) -> None:
            raise OSError("gone")

    bus.subscribe(Listener().on_event)
    bus.publish(Began())
    ((name, error),) = heard
    assert name.endswith("Listener")
    assert error == "gone"


def test_an_interrupt_is_not_swallowed() -> None:
    """what is no Exception passes through to the publisher"""
    bus: EventBus[Event] = EventBus()

    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    bus.subscribe(interrupted)
    with pytest.raises(KeyboardInterrupt):
        bus.publish(Began())


def test_unsubscribing_and_subscribing_underway() -> None:
    """a change by a listener in the middle of an event counts from the next event on"""
    bus: EventBus[Event] = EventBus()
    late: list[Event] = []
    seen: list[Event] = []

    def once(event: Event) -> None:
        leave()
        bus.subscribe(late.append)

    leave = bus.subscribe(once)
    bus.subscribe(seen.append)
    bus.publish(Began(1))
    bus.publish(Began(2))
    leave()
    assert seen == [Began(1), Began(2)]
    assert late == [Began(2)]


def test_closing_closes_each_once() -> None:
    """close reaches every listener even if one fails at it; after that nothing is carried"""
    heard: list[str] = []
    closed: list[str] = []
    told: list[Event] = []
    bus: EventBus[Event] = EventBus(on_drop=lambda name, error: heard.append(name))

    def fail() -> None:
        raise OSError("full")

    bus.subscribe(told.append, name="a", close=fail)
    bus.subscribe(told.append, name="b", close=lambda: closed.append("b"))
    bus.close()
    bus.close()
    bus.publish(Began())
    assert (heard, closed, told) == (["a"], ["b"], [])
    with pytest.raises(UsageError, match="c subscribes"):
        bus.subscribe(told.append, name="c")


def test_dropping_during_ones_own_publication() -> None:
    """a listener that publishes, and is dropped by what that led to, is named once"""
    heard = []
    bus: EventBus[Event] = EventBus(on_drop=lambda name, error: heard.append(name))

    def echo(event: Event) -> None:
        if event == Began(1):
            bus.publish(Began(2))
        raise ValueError

    bus.subscribe(echo, name="echo")
    bus.publish(Began(1))
    assert heard == ["echo"]
