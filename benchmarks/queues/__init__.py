"""Queues of jobs for the benchmarks: ours and its peers, each in processes of its own, started as its users do.

A module names its queue by the variable ADDRESS, registers a no-op job that counts itself (`counting`),
and asks for such jobs when it is told to (`asking`).
"""
