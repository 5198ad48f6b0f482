"""Log stores in columns: ours, and DuckDB's over its own files and over Parquet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from benchmarks.log_peers import Answer, Batches, Plain, Run, counted, listed, size_of
from benchmarks.log_work import SUBSTRING, WORD, Asked

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from vcache.logs import Record
    from vcache.logs.disk import DiskLogs

__all__ = ["DuckDb", "Ours", "OursKept", "Parquet"]

_COLUMNS: Final = "id, time, level, source, host, node, trace, took, message"
_MS: Final = 1e6
_US: Final = 1000  # nanoseconds
_MINUTE_NS: Final = 60 * 10**9


class Ours:
    """The store of a directory. It likes records, and to take all of them in one append, a few at a time."""

    batch = 4_096

    def objects(self, lines: list[bytes]) -> list[Any]:
        """See `Engine`."""
        import orjson

        return list(map(_record, map(orjson.loads, lines)))

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def ingest(self, batches: Batches) -> None:
        import numpy  # noqa: F401, ICN001 - loaded before the clock starts, as the peers' libraries are

        from vcache.logs.disk import DiskLogs

        with DiskLogs(self._directory, seals=False) as store:
            first = store.append_bulk(chain.from_iterable(batches)).first_id
        (self._directory / "first").write_text(first)

    def size_bytes(self) -> int:
        return size_of(self._directory / "segments") + size_of(self._directory / "tail")

    def open(self, asked: Asked) -> Mapping[str, Run]:
        from vcache.logs.disk import DiskLogs

        return _asked_of(DiskLogs(self._directory, seals=False), asked)

    def lines(self, command: Mapping[str, str]) -> float:
        """How long it takes to store JSON lines, in ms."""
        from vcache.logs.disk import DiskLogs
        from vcache.logs.receive.jsonlines import JsonLines

        started = perf_counter_ns()
        with DiskLogs(Path(command["place"]), seals=False) as store, open(command["path"], "rb") as file:
            store.append_bulk(
                record
                for piece in _pieces(file)
                for record in JsonLines().parse(piece, now_ns=time.time_ns()).records
            )
        return (perf_counter_ns() - started) / _MS


class OursKept(Ours):
    """The same, with a cache that keeps answers about the past."""

    def open(self, asked: Asked) -> Mapping[str, Run]:
        from vcache import Cache
        from vcache.logs.disk import DiskLogs

        cache = Cache(f"disk:{self._directory}-answers")
        return _asked_of(DiskLogs(self._directory, seals=False, cache=cache), asked)


def _pieces(file: Any) -> Iterator[bytes]:
    while piece := file.readlines(1 << 20):
        yield b"".join(piece)


def _record(row: dict[str, Any]) -> Record:
    from vcache.logs import Record
    from vcache.query.levels import level_of

    at_ns, level = row["time"] * _US, level_of(row["level"]) or 0
    fields = {"host": row["host"], "node": row["node"], "trace": row["trace"], "took": row["took"]}
    return Record(at_ns, level, row["source"], row["message"], fields)


def _asked_of(store: DiskLogs, asked: Asked) -> Mapping[str, Run]:
    from vcache.logs.ids import id_of, parse_id
    from vcache.query.parser import parse

    stream, first = parse_id((store.directory / "first").read_text())
    wanted = id_of(stream, first + asked.number)

    def rows(text: str) -> Answer:
        return listed(record.at_ns // _US for record in store.search(parse(text, now_ns=0)).rows)  # type: ignore[union-attr]

    def count(text: str) -> Answer:
        return [int(str(row[0])) for row in store.search(parse(text, now_ns=0)).rows]

    def histogram() -> Answer:
        found = store.search(parse("| histogram 1m by level", now_ns=0))
        return counted((int(str(row[0])) // _MINUTE_NS, int(str(row[2]))) for row in found.rows)

    def one() -> Answer:
        record = store.find(wanted)
        return listed([] if record is None else [record.at_ns // _US])

    return {
        "rare": lambda: rows('source = "cron" and level = critical'),
        "common": lambda: count("level = warning | count"),
        "token": lambda: rows(f'"{asked.token}"'),
        "trace": lambda: rows(f'trace = "{asked.trace}"'),
        "substring": lambda: count(f'message contains "{SUBSTRING}" | count'),
        "word": lambda: count(f'"{WORD}" | count'),
        "histogram": histogram,
        "last": lambda: rows("| last 100"),
        "id": one,
    }


def _arrow(batch: list[dict[str, Any]], first_id: int) -> pa.Table:
    import pyarrow as pa

    ids = pa.array(range(first_id, first_id + len(batch)))
    return pa.Table.from_pylist(batch).add_column(0, "id", ids)


class DuckDb(Plain):
    """A table in a file of DuckDB's, with defaults. It likes Arrow."""

    def __init__(self, directory: Path) -> None:
        self._path = directory

    def ingest(self, batches: Batches) -> None:
        with self._made(self._path) as base:
            number = 0
            for batch in batches:
                base.register("batch", _arrow(batch, number))
                base.execute(f"INSERT INTO logs SELECT {_COLUMNS} FROM batch")
                base.unregister("batch")
                number += len(batch)
            base.execute("CHECKPOINT")

    def _made(self, path: Path) -> duckdb.DuckDBPyConnection:
        import duckdb

        base = duckdb.connect(str(path))
        base.execute("SET threads = 1")
        base.execute(
            "CREATE TABLE logs (id BIGINT, time BIGINT, level VARCHAR, source VARCHAR, host VARCHAR, node VARCHAR,"
            " trace VARCHAR, took DOUBLE, message VARCHAR)"
        )
        return base

    def size_bytes(self) -> int:
        return self._path.stat().st_size

    def open(self, asked: Asked) -> Mapping[str, Run]:
        import duckdb

        return _sql(duckdb.connect(str(self._path), read_only=True), "logs", asked)

    def lines(self, command: Mapping[str, str]) -> float:
        """How long it takes to store JSON lines, in ms."""
        started = perf_counter_ns()
        with self._made(Path(command["place"])) as base:
            base.execute(
                "INSERT INTO logs SELECT row_number() OVER () - 1 AS id, time, level, source, host, node, trace, took,"
                f" message FROM read_json('{command['path']}', format = 'newline_delimited')"
            )
            base.execute("CHECKPOINT")
        return (perf_counter_ns() - started) / _MS

    def parquet(self, command: Mapping[str, str]) -> float:
        """The bytes of the table as Parquet with zstd, as DuckDB writes it."""
        import duckdb

        with duckdb.connect(str(self._path), read_only=True) as base:
            base.execute(
                f"COPY (SELECT * FROM logs ORDER BY id) TO '{command['place']}' (FORMAT parquet, CODEC zstd)"
            )
        return Path(command["place"]).stat().st_size


class Parquet(Plain):
    """A file that pyarrow wrote with zstd, and DuckDB over it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory

    def ingest(self, batches: Batches) -> None:
        import os

        from pyarrow import parquet

        writer, number = None, 0
        for batch in batches:
            table = _arrow(batch, number)
            if writer is None:
                writer = parquet.ParquetWriter(self._path, table.schema, compression="zstd")
            writer.write_table(table)
            number += len(batch)
        if writer is not None:
            writer.close()
        descriptor = os.open(self._path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def size_bytes(self) -> int:
        return self._path.stat().st_size

    def open(self, asked: Asked) -> Mapping[str, Run]:
        import duckdb

        return _sql(duckdb.connect(), f"read_parquet('{self._path}')", asked)


def _sql(base: duckdb.DuckDBPyConnection, table: str, asked: Asked) -> Mapping[str, Run]:
    """The best form of each. LIKE passes few on to the regular expression, which tells whole words."""

    def rows(where: str) -> Answer:
        return listed(row[1] for row in base.execute(f"SELECT {_COLUMNS} FROM {table} {where}").fetchall())

    def count(where: str) -> Answer:
        return [row[0] for row in base.execute(f"SELECT count(*) FROM {table} {where}").fetchall()]

    def histogram() -> Answer:
        found = base.execute(
            f"SELECT time // 60000000 AS minute, level, count(*) FROM {table} GROUP BY ALL ORDER BY ALL"
        )
        return counted((row[0], row[2]) for row in found.fetchall())

    return {
        "rare": lambda: rows("WHERE source = 'cron' AND level = 'critical'"),
        "common": lambda: count("WHERE level = 'warning'"),
        "token": lambda: rows(_whole(asked.token)),
        "trace": lambda: rows(f"WHERE trace = '{asked.trace}'"),
        "substring": lambda: count(f"WHERE message LIKE '%{SUBSTRING}%'"),
        "word": lambda: count(_whole(WORD)),
        "histogram": histogram,
        "last": lambda: rows("ORDER BY time DESC LIMIT 100"),
        "id": lambda: rows(f"WHERE id = {asked.number}"),
    }


def _whole(word: str) -> str:
    return f"WHERE message LIKE '%{word}%' AND regexp_matches(message, '\\b{word}\\b')"
