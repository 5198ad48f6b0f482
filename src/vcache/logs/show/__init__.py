"""How answers of a log store look: text for people, and six formats for programs.

    Result ──chunks of rows──▶ writer(format, stream, columns) ──bytes──▶ stream

Each writer takes rows as they come and keeps at most a screen or a row group of them. Nothing that a
record says acts on who reads it: terminals, spreadsheets, browsers. It must not know where records come
from, nor whether the stream is a terminal, a file or a socket.
"""
