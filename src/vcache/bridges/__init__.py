"""Programs that other tools start, to find vcache behind a protocol of their own."""
