"""Log stores with an index of words, and one with none at all: SQLite FTS5, tantivy, ClickHouse, ripgrep."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.log_peers import Answer, Batches, Plain, Run, counted, listed, size_of
from benchmarks.log_work import FIELDS, SUBSTRING, WORD, Asked

__all__ = ["ClickHouse", "Ripgrep", "Sqlite", "Tantivy"]

_MINUTE_US: Final = 60_000_000
_MOST: Final = 100_000  # rows of an answer


class Sqlite(Plain):
    """A table with an index for each way in, and FTS5 over the messages; WAL, synchronous=NORMAL."""

    def __init__(self, directory: Path) -> None:
        self._path = directory

    def ingest(self, batches: Batches) -> None:
        base = self._connect()
        base.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
            "CREATE TABLE logs (id INTEGER PRIMARY KEY, time INTEGER, level TEXT, source TEXT, host TEXT, node TEXT,"
            " trace TEXT, took REAL, message TEXT);"
            "CREATE INDEX by_time ON logs (time); CREATE INDEX by_level ON logs (level, source);"
            "CREATE INDEX by_trace ON logs (trace);"
            "CREATE VIRTUAL TABLE words USING fts5(message, content = 'logs', content_rowid = 'id',"
            " tokenize = \"unicode61 tokenchars '_'\");"
        )
        names = ", ".join(f":{name}" for name in FIELDS)
        number = 0
        for batch in batches:
            with base:
                base.executemany(f"INSERT INTO logs ({', '.join(FIELDS)}) VALUES ({names})", batch)
                base.execute(
                    "INSERT INTO words (rowid, message) SELECT id, message FROM logs WHERE id > ?", (number,)
                )
            number += len(batch)
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        base.close()

    def _connect(self) -> Any:
        import sqlite3

        return sqlite3.connect(self._path)

    def size_bytes(self) -> int:
        return size_of(self._path)

    def open(self, asked: Asked) -> Mapping[str, Run]:
        base = self._connect()

        def rows(where: str, *values: object) -> Answer:
            return listed(row[1] for row in base.execute(f"SELECT * FROM logs {where}", values).fetchall())

        def count(where: str, *values: object) -> Answer:
            return [base.execute(f"SELECT count(*) FROM {where}", values).fetchone()[0]]

        def histogram() -> Answer:
            grouped = f"SELECT time / {_MINUTE_US}, level, count(*) FROM logs GROUP BY 1, 2"
            return counted((row[0], row[2]) for row in base.execute(grouped))

        within = "WHERE id IN (SELECT rowid FROM words WHERE words MATCH ?)"
        return {
            "rare": lambda: rows("WHERE source = 'cron' AND level = 'critical'"),
            "common": lambda: count("logs WHERE level = 'warning'"),
            "token": lambda: rows(within, asked.token),
            "trace": lambda: rows("WHERE trace = ?", asked.trace),
            "substring": lambda: count("logs WHERE instr(message, ?)", SUBSTRING),
            "word": lambda: count("words WHERE words MATCH ?", WORD),
            "histogram": histogram,
            "last": lambda: rows("ORDER BY time DESC LIMIT 100"),
            "id": lambda: rows("WHERE id = ?", asked.number + 1),
        }


class Tantivy(Plain):
    """An index of words, with columns of what is sorted and counted."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _schema(self) -> Any:
        import tantivy

        builder = tantivy.SchemaBuilder()
        builder.add_unsigned_field("id", stored=True, indexed=True)
        builder.add_integer_field("time", stored=True, fast=True)
        builder.add_text_field("level", stored=True, fast=True, tokenizer_name="raw", index_option="basic")
        for name in ("source", "host", "node", "trace"):
            builder.add_text_field(name, stored=True, tokenizer_name="raw", index_option="basic")
        builder.add_float_field("took", stored=True)
        builder.add_text_field("message", stored=True)
        return builder.build()

    def ingest(self, batches: Batches) -> None:
        import tantivy

        self._directory.mkdir()
        schema = self._schema()
        writer = tantivy.Index(schema, path=str(self._directory)).writer()
        number = 0
        for batch in batches:
            for row in batch:
                writer.add_document(tantivy.Document.from_dict(row | {"id": number}, schema))
                number += 1
        writer.commit()
        writer.wait_merging_threads()

    def size_bytes(self) -> int:
        return size_of(self._directory)

    def open(self, asked: Asked) -> Mapping[str, Run]:
        import tantivy

        schema = self._schema()
        index = tantivy.Index(schema, path=str(self._directory))
        index.reload()
        searcher: Any = index.searcher()

        def rows(query: Any, most: int = _MOST, **order: Any) -> Answer:
            hits = searcher.search(query, limit=most, **order).hits
            return listed(searcher.doc(address).to_dict()["time"][0] for _, address in hits)

        def count(query: Any) -> Answer:
            return [searcher.search(query, limit=1).count]

        def term(name: str, value: object) -> Any:
            return tantivy.Query.term_query(schema, name, value)

        def histogram() -> Answer:
            found = searcher.aggregate(tantivy.Query.all_query(), {
                "minutes": {
                    "histogram": {"field": "time", "interval": _MINUTE_US, "min_doc_count": 1},
                    "aggs": {"levels": {"terms": {"field": "level"}}},
                }
            })  # fmt: skip
            return counted(
                (int(minute["key"]) // _MINUTE_US, level["doc_count"])
                for minute in found["minutes"]["buckets"]
                for level in minute["levels"]["buckets"]
            )

        both = [(tantivy.Occur.Must, term("source", "cron")), (tantivy.Occur.Must, term("level", "critical"))]
        # Its words have no slashes: the first may begin earlier, the last may go on.
        first, *others, last = re.findall(r"\w+", SUBSTRING)
        phrase = [f".*{first}", *others, f"{last}.*"]
        return {
            "rare": lambda: rows(tantivy.Query.boolean_query(both)),
            "common": lambda: count(term("level", "warning")),
            "token": lambda: rows(term("message", asked.token)),
            "trace": lambda: rows(term("trace", asked.trace)),
            "substring": lambda: count(tantivy.Query.regex_phrase_query(schema, "message", phrase)),
            "word": lambda: count(term("message", WORD)),
            "histogram": histogram,
            "last": lambda: rows(tantivy.Query.all_query(), 100, order_by_field="time"),
            "id": lambda: rows(term("id", asked.number)),
        }


class ClickHouse(Plain):
    """A MergeTree in the order of time, with an index of words."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _session(self) -> Any:
        from chdb import session

        make: Any = session.Session
        return make(str(self._directory))

    def ingest(self, batches: Batches) -> None:
        import pyarrow as pa

        base = self._session()
        base.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
        base.query(
            "CREATE TABLE bench.logs (id UInt64 CODEC(Delta, ZSTD), time Int64 CODEC(Delta, ZSTD),"
            " level LowCardinality(String), source LowCardinality(String), host LowCardinality(String),"
            " node LowCardinality(String), trace String CODEC(ZSTD), took Float64 CODEC(ZSTD), message String CODEC(ZSTD),"
            " INDEX by_id id TYPE minmax, INDEX by_trace trace TYPE bloom_filter,"
            " INDEX words message TYPE text(tokenizer = 'splitByNonAlpha'))"
            " ENGINE = MergeTree ORDER BY time"
        )
        number = 0
        for batch in batches:
            ids = pa.array(range(number, number + len(batch)), pa.uint64())
            table = pa.Table.from_pylist(batch).add_column(0, "id", ids)  # noqa: F841 - the query names it
            base.query(f"INSERT INTO bench.logs SELECT id, {', '.join(FIELDS)} FROM Python(table)")
            number += len(batch)
        base.close()

    def size_bytes(self) -> int:
        base = self._session()
        found = base.query(
            "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'bench'", "CSV"
        )
        return int(str(found))

    def open(self, asked: Asked) -> Mapping[str, Run]:
        import orjson

        base = self._session()

        def told(query: str) -> list[list[Any]]:
            found = base.query(
                f"{query} SETTINGS output_format_json_quote_64bit_integers = 0", "JSONCompactEachRow"
            )
            return [orjson.loads(line) for line in bytes(found.bytes()).splitlines()]

        def rows(where: str) -> Answer:
            return listed(row[1] for row in told(f"SELECT id, {', '.join(FIELDS)} FROM bench.logs {where}"))

        def count(where: str) -> Answer:
            return list(told(f"SELECT count() FROM bench.logs {where}")[0])

        def histogram() -> Answer:
            grouped = (
                f"SELECT intDiv(time, {_MINUTE_US}) AS minute, level, count() FROM bench.logs GROUP BY ALL"
            )
            return counted((row[0], row[2]) for row in told(grouped))

        return {
            "rare": lambda: rows("WHERE source = 'cron' AND level = 'critical'"),
            "common": lambda: count("WHERE level = 'warning'"),
            "token": lambda: rows(f"WHERE hasToken(message, '{asked.token}')"),
            "trace": lambda: rows(f"WHERE trace = '{asked.trace}'"),
            "substring": lambda: count(f"WHERE message LIKE '%{SUBSTRING}%'"),
            "word": lambda: count(f"WHERE hasToken(message, '{WORD}')"),
            "histogram": histogram,
            "last": lambda: rows("ORDER BY time DESC LIMIT 100"),
            "id": lambda: rows(f"WHERE id = {asked.number}"),
        }


class Ripgrep(Plain):
    """A file of JSON lines, and programs that look through it."""

    def __init__(self, directory: Path) -> None:
        self._path = directory

    def ingest(self, batches: Batches) -> None:
        import orjson

        number = 0
        with self._path.open("wb") as file:
            for batch in batches:
                lines = [orjson.dumps({"id": at, **row}) for at, row in enumerate(batch, number)]
                file.write(b"\n".join(lines) + b"\n")
                number += len(batch)
            file.flush()
            os.fsync(file.fileno())

    def size_bytes(self) -> int:
        return size_of(self._path)

    def open(self, asked: Asked) -> Mapping[str, Run]:
        import orjson

        path = str(self._path)

        def said(*command: str) -> list[bytes]:
            # rg ends with 1 where it finds nothing.
            done = subprocess.run([*command, path], capture_output=True, check=False)
            if done.returncode > 1:
                raise RuntimeError(done.stderr.decode())
            return done.stdout.splitlines()

        def rows(*command: str) -> Answer:
            return listed(orjson.loads(line)["time"] for line in said(*command))

        def count(*pattern: str) -> Answer:
            return [int(each) for each in said("rg", "-c", *pattern)] or [0]

        def histogram() -> Answer:
            found: Counter[tuple[int, str]] = Counter()
            with open(path, "rb") as file:
                for line in file:
                    row = orjson.loads(line)
                    found[row["time"] // _MINUTE_US, row["level"]] += 1
            return counted((minute, count) for (minute, _), count in found.items())

        return {
            "rare": lambda: rows("rg", "-N", "-F", '"level":"critical","source":"cron"'),
            "common": lambda: count("-F", '"level":"warning"'),
            "token": lambda: rows("rg", "-N", "-w", asked.token),
            "trace": lambda: rows("rg", "-N", "-F", f'"trace":"{asked.trace}"'),
            "substring": lambda: count("-F", SUBSTRING),
            "word": lambda: count("-w", WORD),
            "histogram": histogram,
            "last": lambda: rows("tail", "-n", "100"),
            "id": lambda: rows("rg", "-N", "-F", f'{{"id":{asked.number},'),
        }
