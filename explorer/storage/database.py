"""The file behind a landscape: opened, checked, and written in transactions.

SQLAlchemy 2 over SQLite. Every write runs in one short `BEGIN IMMEDIATE` transaction with a
write-ahead log and full synchronisation, so that a process killed at any moment leaves the last
committed state and two processes can share a file. What the rows are is said in `store`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from topokrates.model.errors import InputError
from topokrates.storage import migrations, records, sqlite

SCHEMA_VERSION = 4  # what came before: `topokrates.storage.migrations`
FORMAT = "topokrates landscape"


class Database:
    """One file, or memory. Make one with `create` or `open` of `topokrates.storage.store.Store`.

    `rollbacks` counts the transactions that were undone, so that a cache above can tell.
    Every method raises InputError, in one line that names the file, when the file cannot be
    read or written (damaged, read-only, disk full, locked by another process).
    """

    def __init__(self, path: Path | None, mode: str):
        self.path = path
        self.rollbacks = 0
        self._read_only = mode == "ro"
        self._lock = threading.RLock()
        self._connection: sa.Connection | None = None
        self._engine = sa.create_engine(
            "sqlite://", creator=lambda: sqlite.connect(path, mode), poolclass=StaticPool
        )
        # sqlite3 begins transactions by its own rules, too late for a read-modify-write: it is
        # told not to, and the transaction is begun here.
        event.listen(self._engine, "begin", sqlite.begin)
        self._finalizer = weakref.finalize(self, self._engine.dispose)

    @classmethod
    def create(cls, path: str | os.PathLike | None, meta: Mapping[str, Any]) -> Self:
        """Open `path`, made and headed with `meta` (JSON-able) if there is none yet.

        None keeps everything in memory. Raises InputError if the path is no database of ours or
        cannot be written.
        """
        if path is None:
            store = cls(None, "")
        else:
            path = Path(path)
            sqlite.refuse_folder(path)
            if not path.parent.is_dir():
                raise InputError(f"{path}: the folder {path.parent} does not exist")
            store = cls(path, "rwc")
        try:
            with store.transaction() as connection:
                if not sqlite.tables(connection):
                    header = {"format": FORMAT, "schema_version": SCHEMA_VERSION, **meta}
                    records.schema.create_all(connection)
                    rows = [{"key": k, "value": json.dumps(v)} for k, v in header.items()]
                    connection.execute(records.meta.insert(), rows)
            store._check()
            if path is not None:
                with store._guard(), store._engine.connect() as connection:
                    sqlite.write_ahead(connection)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open(cls, path: str | os.PathLike) -> Self:
        """Open an existing database and never make one.

        Raises InputError if there is none, or if it is damaged, empty or not ours.
        """
        path = Path(path)
        sqlite.refuse_folder(path)
        if not path.exists():
            raise InputError(f"{path}: there is no such database")
        store = cls(path, "rw" if sqlite.writable(path) else "ro")
        try:
            store._check()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close the file; a later use of the store reopens it."""
        self._engine.dispose()

    def _check(self) -> None:
        with self.snapshot() as connection:
            tables = sqlite.tables(connection)
            trouble = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if not tables:
            raise InputError(f"{self.path} is empty: it holds no landscape")
        if trouble != "ok":
            first = str(trouble).split("\n")[-1].strip()
            raise InputError(f"{self.path} is damaged ({first}): restore it from a copy")
        try:
            meta = self.meta() if "meta" in tables else {}
        except (DBAPIError, ValueError):
            meta = {}
        if meta.get("format") != FORMAT:
            raise InputError(f"{self.path} is not a topokrates database")
        version = meta.get("schema_version")
        for old, migrate in migrations.STEPS.items():
            if version == old and not (self._read_only and old in migrations.READABLE):
                with self.transaction() as connection:
                    if self.meta()["schema_version"] == old:  # no other process has done it
                        migrate(connection)
                    tables = sqlite.tables(connection)
                version = old + 1
        if version != SCHEMA_VERSION and version not in migrations.READABLE:
            raise InputError(
                f"{self.path} has schema version {version}, this topokrates reads version"
                f" {SCHEMA_VERSION}: use the release that wrote it"
            )
        later = migrations.READABLE.get(version, set())
        if missing := set(records.schema.tables) - tables - later:
            raise InputError(f"{self.path} is damaged: it lacks {', '.join(sorted(missing))}")

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            reason = sqlite.reason(error)
            if reason is None:
                raise
            raise InputError(f"{self.path or 'the database in memory'} {reason}") from error

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """All writes inside become one commit, or none of them if the block raises.

        Transactions nest: an inner one that raises undoes its own writes alone.
        """
        with self._lock, self._guard():
            try:
                if self._connection is not None:
                    with _savepoint(self._connection):
                        yield self._connection
                    return
                with self._engine.connect() as connection:
                    connection = connection.execution_options(topokrates_write=True)
                    with connection.begin():
                        self._connection = connection
                        try:
                            yield connection
                        finally:
                            self._connection = None
            except BaseException:
                self.rollbacks += 1
                raise

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """All reads inside see the same state. Nothing may be written inside."""
        with self._lock, self._guard():
            if self._connection is not None:
                yield self._connection
                return
            with self._engine.connect() as connection, connection.begin():
                self._connection = connection
                try:
                    yield connection
                finally:
                    self._connection = None

    def _rows(self, statement: sa.Executable) -> list[Any]:
        with self.snapshot() as connection:
            try:
                return list(connection.execute(statement).all())
            except ValueError as error:  # an array whose bytes are not whole rows of three
                raise InputError(f"{self.path} is damaged: {error}") from error

    def meta(self) -> dict[str, Any]:
        """What the database was headed with, decoded from JSON."""
        return {key: json.loads(value) for key, value in self._rows(sa.select(records.meta))}

    def data_version(self) -> int:
        """A number that changes when another process has committed something."""
        with self.snapshot() as connection:
            return int(connection.exec_driver_sql("PRAGMA data_version").scalar_one())

    def _insert(self, table: sa.Table, values: Mapping[str, Any]) -> int:
        with self.transaction() as connection:
            key = connection.execute(table.insert().values(**values)).inserted_primary_key
            assert key is not None
            return int(key[0])

    def _upsert(self, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Update the row of this key, or insert it: the same on every database."""
        with self.transaction() as connection:
            change = table.update().where(*(table.c[name] == v for name, v in key.items()))
            if connection.execute(change.values(**values)).rowcount == 0:
                connection.execute(table.insert().values(**key, **values))


@contextmanager
def _savepoint(connection: sa.Connection) -> Iterator[None]:
    point = connection.begin_nested()
    try:
        yield
    except BaseException:
        # A full disk makes SQLite undo the whole transaction, savepoints included: the error to
        # report is the first one.
        with suppress(DBAPIError):
            point.rollback()
        raise
    point.commit()
