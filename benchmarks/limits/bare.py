"""The limit of latency for a program in Python that keeps history in SQLite: the least that could be undone after a power cut.

    python bare.py SOURCE TARGET VALUE

inotify read -> read the file -> render -> write a temporary -> content and intent into SQLite, committed -> both synced, side by side ->
rename. One thread waits and works, another syncs the file. What Headgate does besides before a file appears is not here: it does not look
at the target, compares nothing, knows of no other environments, cannot be stopped or asked anything, and never recovers.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import sqlite3
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

CLOSE_WRITE, MOVED_TO, ONLYDIR, ISDIR = 0x8, 0x80, 0x01000000, 0x40000000
_EVENT = struct.Struct("iIII")
_LOG = 8 * 1024 * 1024
"""Bytes of SQLite's log written in advance: syncing a file that does not grow takes about half the time."""
_TABLES = """
CREATE TABLE contents (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, content BLOB NOT NULL);
CREATE TABLE intents (id INTEGER PRIMARY KEY, path BLOB NOT NULL, before BLOB, after BLOB NOT NULL);
"""


def main(source: str, target: str, value: str) -> None:
    """Bring every file that is written or moved into `source` to `target`, for ever, with `value` for all that it refers to."""
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.inotify_init1(os.O_CLOEXEC)
    watched: dict[int, tuple[bytes, bytes]] = {}
    for directory, _, _ in os.walk(os.fsencode(source)):
        place = os.path.join(os.fsencode(target), os.path.relpath(directory, os.fsencode(source)))
        os.makedirs(place, exist_ok=True)
        watched[libc.inotify_add_watch(events, directory, CLOSE_WRITE | MOVED_TO | ONLYDIR)] = (
            directory,
            place,
        )
    sql = sqlite3.connect(f"{target}.db", isolation_level=None)
    sql.execute("PRAGMA journal_mode = WAL")
    sql.execute("PRAGMA synchronous = NORMAL")
    sql.executescript(_TABLES)
    log = os.open(f"{target}.db-wal", os.O_RDWR | os.O_CLOEXEC)
    os.pwrite(log, bytes(_LOG), os.fstat(log).st_size)
    os.fsync(log)
    reference = re.compile(rb"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
    substitute = value.encode()
    beside = ThreadPoolExecutor(1)
    known: dict[bytes, bytes] = {}

    def bring(here: bytes, there: bytes) -> None:
        with open(here, "rb", buffering=0) as file:
            given = file.read()
        hashlib.sha256(given).digest()  # to know it again
        content = reference.sub(substitute, given)
        digest = hashlib.sha256(content).digest()
        temporary = there + b".new"
        out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.write(out, content)
        synced = beside.submit(os.fsync, out)
        sql.execute("BEGIN IMMEDIATE")
        sql.execute("INSERT OR IGNORE INTO contents (digest, content) VALUES (?, ?)", (digest, content))
        sql.execute(
            "INSERT INTO intents (path, before, after) VALUES (?, ?, ?)", (there, known.get(there), digest)
        )
        sql.execute("COMMIT")
        os.fdatasync(log)
        synced.result()
        os.close(out)
        os.rename(temporary, there)
        known[there] = digest

    print("ready", flush=True)
    while True:
        told, at = os.read(events, 1 << 16), 0
        while at < len(told):
            watch, mask, _, length = _EVENT.unpack_from(told, at)
            name = told[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            if name and not mask & ISDIR:
                here, there = watched[watch]
                bring(os.path.join(here, name), os.path.join(there, name))


if __name__ == "__main__":
    main(*sys.argv[1:])
