"""One small language over records: what is meant, and what is to be said of it.

    text ──parser──▶ Query(where, stages) ──▶ a test of rows, and steps over them

Pure: it knows what a row is asked for, and nothing of where rows are. The log store, the log nodes of
builds and live tails evaluate the same query, each over what it has (docs/reference/query.md).
"""
