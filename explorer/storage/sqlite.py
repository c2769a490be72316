"""Connections to SQLite that survive a kill and share a file, and errors that a person can read."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from topokrates.model.errors import InputError

BUSY_SECONDS = 60.0
MAGIC = b"SQLite format 3\0"
SAFE = "everything reported before is safe, and with more room the same command goes on"


def connect(path: Path | None, mode: str) -> sqlite3.Connection:
    """A connection to `path` (None: in memory) in a mode of SQLite's URIs: rwc, rw or ro."""
    if path is None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    else:
        uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
        if mode == "ro" and not path.with_name(path.name + "-wal").exists():
            uri += "&immutable=1"  # in a folder that cannot be written the log cannot be opened
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def write_ahead(connection: sa.Connection) -> None:
    """Switch the file to the write-ahead log, for good; a file that is not ours is left as it is.

    Readers then never wait for a writer. SQLite does not wait for the lock that this takes, so
    it is waited for here. Must be called outside a transaction.
    """
    raw = connection.connection
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            raw.cursor().execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def begin(connection: sa.Connection) -> None:
    """Begin a transaction that takes the write lock at once if it is going to write."""
    write = connection.get_execution_options().get("topokrates_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def tables(connection: sa.Connection) -> set[str]:
    return set(sa.inspect(connection).get_table_names())


def is_database(path: str | os.PathLike[str]) -> bool:
    """Whether this is a file of SQLite, and not one of ASE's, which holds molecules."""
    try:
        with open(path, "rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return False
    except OSError:
        return False
    try:
        with closing(connect(Path(path), "ro")) as connection:
            query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'systems'"
            return connection.execute(query).fetchone() is None
    except sqlite3.Error:
        return True  # damaged: whoever opens it will say so


def refuse_folder(path: Path) -> None:
    """Raise InputError if the path is a folder."""
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a database file")


def writable(path: Path) -> bool:
    """Whether the file and its folder, where the log is kept, can be written."""
    effective = os.access in os.supports_effective_ids
    return all(
        os.access(place, os.W_OK, effective_ids=effective)
        for place in (path, path.absolute().parent)
    )


def reason(error: DBAPIError | sqlite3.Error) -> str | None:
    """What a person can do about an error of SQLite; None where it is a defect of ours."""
    original = error.orig if isinstance(error, DBAPIError) else error
    name = getattr(original, "sqlite_errorname", "")
    reasons = {
        "SQLITE_NOTADB": "is not a topokrates database: it is no SQLite file",
        "SQLITE_CORRUPT": "is damaged: restore it from a copy",
        "SQLITE_FULL": f"cannot grow: the disk is full; {SAFE}",
        "SQLITE_READONLY": "cannot be written: it or its folder is read-only",
        "SQLITE_CANTOPEN": "cannot be opened: check that the folder can be written",
        "SQLITE_BUSY": f"was locked by another process for more than {BUSY_SECONDS:.0f} s",
        "SQLITE_IOERR_WRITE": f"cannot grow: no room, or a limit on the size of files; {SAFE}",
        "SQLITE_IOERR_SHMSIZE": f"cannot be opened for lack of room; {SAFE}",
        "SQLITE_IOERR": f"cannot be read or written: {original}",
        "SQLITE_PERM": "cannot be opened: permission denied",
    }
    return next((text for code, text in reasons.items() if name.startswith(code)), None)
