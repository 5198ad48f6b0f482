"""Sealed records: compressed columns in blocks that check themselves (docs/design/logs-segments.md).

It needs NumPy; it must not know queries, nor where segments come from.
"""

from vcache.logs.segment.layout import Run, SegmentInfo
from vcache.logs.segment.merging import merge, runs_of
from vcache.logs.segment.reading import OpenBlock, Segment, open_segment
from vcache.logs.segment.writing import SegmentWriter

__all__ = ["OpenBlock", "Run", "Segment", "SegmentInfo", "SegmentWriter", "merge", "open_segment", "runs_of"]
