"""The file behind a landscape: what was reported is committed here, and nowhere else.

SQLAlchemy 2 over SQLite. Every write runs in one short `BEGIN IMMEDIATE` transaction with a
write-ahead log and full synchronisation, so that a process killed at any moment leaves the last
committed state and two processes can share a file. Arrays are raw little-endian float64. The
store keeps rows and knows no chemistry; what is the same minimum is decided in
`topokrates.landscape`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from topokrates import migrations, records, sqlite
from topokrates.model.errors import InputError
from topokrates.records import AttemptRecord, Link, Minimum, QuenchRecord, SearchRecord

SCHEMA_VERSION = 3  # what came before: `topokrates.migrations`
FORMAT = "topokrates landscape"


class Store:
    """The rows of one landscape. Make one with `Store.create` or `Store.open`.

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
    def create(cls, path: str | os.PathLike | None, meta: Mapping[str, Any]) -> Store:
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
    def open(cls, path: str | os.PathLike) -> Store:
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
                version = old + 1
        if version != SCHEMA_VERSION and version not in migrations.READABLE:
            raise InputError(
                f"{self.path} has schema version {version}, this topokrates reads version"
                f" {SCHEMA_VERSION}: use the release that wrote it"
            )
        if missing := set(records.schema.tables) - tables:
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

    # minima and links

    def minima(self, after: int = 0) -> list[Minimum]:
        """The minima with an id above `after`, by id."""
        query = (
            sa.select(records.minimum)
            .where(records.minimum.c.id > after)
            .order_by(records.minimum.c.id)
        )
        return [Minimum(**row._mapping) for row in self._rows(query)]

    def visits(self) -> dict[int, int]:
        table = records.minimum
        return {row.id: row.visits for row in self._rows(sa.select(table.c.id, table.c.visits))}

    def insert_minimum(
        self,
        energy: float,
        positions: np.ndarray | None,
        max_force: float | None,
        lowest_eigenvalue: float | None,
    ) -> Minimum:
        """Store a minimum, visited once, whatever is there already."""
        values = {"energy": energy, "positions": positions, "max_force": max_force}
        values |= {"lowest_eigenvalue": lowest_eigenvalue, "visits": 1}
        return Minimum(id=self._insert(records.minimum, values), **values)

    def fill(self, minima: Iterable[Minimum], links: Iterable[Link]) -> None:
        """Store minima and links as they are, ids included, all of them or none."""
        of_minima = [{f.name: getattr(m, f.name) for f in fields(Minimum)} for m in minima]
        of_links = [{f.name: getattr(x, f.name) for f in fields(Link)} for x in links]
        for row in of_links:
            row["a"], row["b"] = row.pop("minima")
        with self.transaction() as connection:
            for table, rows in ((records.minimum, of_minima), (records.link, of_links)):
                if rows:
                    connection.execute(table.insert(), rows)

    def add_visit(self, minimum: int) -> None:
        change = records.minimum.update().where(records.minimum.c.id == minimum)
        with self.transaction() as connection:
            connection.execute(change.values(visits=records.minimum.c.visits + 1))

    def links(self, after: int = 0) -> list[Link]:
        """The links with an id above `after`, by id."""
        query = sa.select(records.link).where(records.link.c.id > after).order_by(records.link.c.id)
        rows = [dict(row._mapping) for row in self._rows(query)]
        return [Link(minima=(row.pop("a"), row.pop("b")), **row) for row in rows]

    def link_ids(self) -> set[int]:
        return {row.id for row in self._rows(sa.select(records.link.c.id))}

    def insert_link(self, minima: tuple[int, int], **values: Any) -> Link:
        """Store a link, whatever is there already; `values` are the other fields of `Link`."""
        a, b = minima
        return Link(
            id=self._insert(records.link, {"a": a, "b": b, **values}), minima=minima, **values
        )

    def delete_links(self, ids: Iterable[int]) -> None:
        with self.transaction() as connection:
            connection.execute(records.link.delete().where(records.link.c.id.in_(list(ids))))

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

    # searches

    def search(self, key: str, settings: Mapping[str, Any]) -> int:
        """The id of the search of this key, created with `settings` if it is new."""
        with self.transaction():
            known = self._rows(sa.select(records.search.c.id).where(records.search.c.key == key))
            if known:
                return int(known[0].id)
            return self._insert(records.search, {"key": key, "settings": dict(settings)})

    def save_search(
        self,
        key: str,
        *,
        step: int,
        done: int,
        target: int,
        gradient_calls: int,
        hessian_vector_products: int = 0,
        state: bytes | None = None,
    ) -> None:
        """Record how far a search came (totals, not increments).

        `state` None keeps the state stored before. Raises KeyError if there is no such search.
        """
        values: dict[str, Any] = {"step": step, "done": done, "target": target}
        values["gradient_calls"] = gradient_calls
        values["hessian_vector_products"] = hessian_vector_products
        if state is not None:
            values["state"] = state
        with self.transaction() as connection:
            change = records.search.update().where(records.search.c.key == key).values(**values)
            if connection.execute(change).rowcount == 0:
                raise KeyError(key)

    def load_search(self, key: str) -> SearchRecord | None:
        rows = self._rows(sa.select(records.search).where(records.search.c.key == key))
        return SearchRecord(**rows[0]._mapping) if rows else None

    def searches(self) -> list[SearchRecord]:
        """All searches in the order in which they were begun, without their states."""
        columns = [c if c.name != "state" else sa.null().label("state") for c in records.search.c]
        rows = self._rows(sa.select(*columns).order_by(records.search.c.id))
        return [SearchRecord(**row._mapping) for row in rows]

    def log_quench(
        self,
        search: int,
        walker: int,
        step: int,
        status: str,
        energy: float | None,
        positions: np.ndarray | None,
        gradient_calls: int,
        minimum: int | None,
        hessian_vector_products: int = 0,
    ) -> None:
        """Record a quench; one that is there already (same search, step, walker) is replaced."""
        if energy is not None and not np.isfinite(energy):
            energy = None
        values = {"status": status, "energy": energy, "positions": positions}
        values |= {"gradient_calls": gradient_calls, "minimum": minimum}
        values["hessian_vector_products"] = hessian_vector_products
        self._upsert(records.quench, {"search": search, "step": step, "walker": walker}, values)

    def quenches(self, search: int, step: int | None = None) -> list[QuenchRecord]:
        """The quenches of one search (of one step of it), ordered by step and walker."""
        columns = [records.quench.c[name] for name in QuenchRecord._fields]
        query = sa.select(*columns).where(records.quench.c.search == search)
        if step is not None:
            query = query.where(records.quench.c.step == step)
        query = query.order_by(records.quench.c.step, records.quench.c.walker)
        return [QuenchRecord(*row) for row in self._rows(query)]

    def log_attempt(self, a: int, b: int, outcome: str, strategy: str = "band") -> None:
        """Record how an attempt to connect two minima ended (the pair is unordered)."""
        key = {"a": min(a, b), "b": max(a, b), "strategy": strategy}
        table = records.attempt
        count = sa.select(table.c["count"]).where(*(table.c[k] == v for k, v in key.items()))
        with self.transaction():
            before = self._rows(count)
            tried = before[0][0] if before else 0
            self._upsert(table, key, {"outcome": outcome, "count": tried + 1})

    def attempts(self) -> list[AttemptRecord]:
        """All attempts, ordered by pair and strategy."""
        rows = self._rows(sa.select(records.attempt).order_by(*records.attempt.primary_key))
        return [AttemptRecord((r.a, r.b), r.strategy, r.outcome, r[4]) for r in rows]


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
