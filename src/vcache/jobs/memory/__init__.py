"""A queue in the memory of a process: for tests, and for programs whose jobs may die with them."""

from vcache.jobs.memory.queue import MemoryQueue

__all__ = ["MemoryQueue"]
