"""Logs: collect, store, query. The records of a step are an artifact; what happens live is a stream.

    receive (bytes ▷ records) ▷ collect (bounded queues) ▷ tail (D2, group commit) ▷ segments ▷ cache
    query text ▷ search (segments, tail) ▷ rows ▷ show

It must not know builds, jobs and HTTP servers. Formats: docs/design/logs.md.
"""
