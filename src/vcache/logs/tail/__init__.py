"""Tail files: records as they were appended, in frames that check themselves (docs/design/logs.md).

    frames (bytes, pure) ◁ writer (one file of its own, group commit) · reader (incremental, gaps)

It must not know segments, queries and retention.
"""
