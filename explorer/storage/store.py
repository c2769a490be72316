"""The rows of a landscape: minima, links, and the log of its searches.

What was reported is committed here, and nowhere else; see `database` for how. Arrays are
raw little-endian float64. The store keeps rows and knows no chemistry; what is the same minimum is
decided in `topokrates.landscape`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import sqlalchemy as sa

from topokrates.model.errors import InputError
from topokrates.storage import records, sqlite
from topokrates.storage.database import Database
from topokrates.storage.records import (
    AttemptRecord,
    Link,
    Minimum,
    QuenchRecord,
    SearchRecord,
    VibrationRecord,
)


class Store(Database):
    """The rows of one landscape. Make one with `Store.create` or `Store.open`.

    Every method raises InputError, in one line that names the file, when the file cannot be
    read or written (damaged, read-only, disk full, locked by another process).
    """

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

    def fill(
        self,
        minima: Iterable[Minimum],
        links: Iterable[Link],
        vibrations: Iterable[VibrationRecord] = (),
    ) -> None:
        """Store minima, links and their vibrations as they are, ids included, all or none."""
        of_minima = [{f.name: getattr(m, f.name) for f in fields(Minimum)} for m in minima]
        of_links = [{f.name: getattr(x, f.name) for f in fields(Link)} for x in links]
        for row in of_links:
            row["a"], row["b"] = row.pop("minima")
        tables = [(records.minimum, of_minima), (records.link, of_links)]
        tables.append((records.vibration, [record._asdict() for record in vibrations]))
        with self.transaction() as connection:
            for table, rows in tables:
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
        """Remove links, and what is known of their vibrations."""
        table, gone = records.vibration, list(ids)
        with self.transaction() as connection:
            connection.execute(records.link.delete().where(records.link.c.id.in_(gone)))
            connection.execute(table.delete().where(table.c.kind == "link", table.c.id.in_(gone)))

    # vibrations

    def vibrations(self) -> dict[tuple[str, int], VibrationRecord]:
        """What is known of the vibrations of minima and links, by kind and id."""
        table = records.vibration
        if not self._has(table):
            return {}
        found = [
            VibrationRecord(**row._mapping)
            for row in self._rows(sa.select(table).order_by(*table.primary_key))
        ]
        return {(record.kind, record.id): record for record in found}

    def save_vibration(self, record: VibrationRecord) -> None:
        """Record the vibrations of one minimum or link, in place of what was known."""
        table, values = records.vibration, record._asdict()
        key = {name: values.pop(name) for name in ("kind", "id")}
        if not self._has(table):
            raise InputError(
                f"{self.path} cannot be written, and is of a schema that has no frequencies: make"
                " it writable, or copy it"
            )
        self._upsert(table, key, values)

    def _has(self, table: sa.Table) -> bool:
        """Whether the table is there: a file of an earlier schema may be read as it is."""
        with self.snapshot() as connection:
            return table.name in sqlite.tables(connection)

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

        `state` None keeps the state stored before. Raises KeyError if there is no such search,
        InputError if it is further already: then another process runs it.
        """
        values: dict[str, Any] = {"step": step, "done": done, "target": target}
        values["gradient_calls"] = gradient_calls
        values["hessian_vector_products"] = hessian_vector_products
        if state is not None:
            values["state"] = state
        with self.transaction() as connection:
            change = records.search.update().where(records.search.c.key == key).values(**values)
            if connection.execute(change.where(records.search.c.step <= step)).rowcount == 0:
                if self.load_search(key) is None:
                    raise KeyError(key)
                raise self._taken()

    def load_search(self, key: str) -> SearchRecord | None:
        rows = self._rows(sa.select(records.search).where(records.search.c.key == key))
        return SearchRecord(**rows[0]._mapping) if rows else None

    def searches(self) -> list[SearchRecord]:
        """All searches for minima in the order in which they were begun, without their states."""
        columns = [c if c.name != "state" else sa.null().label("state") for c in records.search.c]
        minima = records.search.c.key != records.CONNECTING
        rows = self._rows(sa.select(*columns).where(minima).order_by(records.search.c.id))
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
        """Record a quench; one whose `positions` were kept (same search, step, walker) is replaced.

        A quench that is logged without positions has come to its end, and what it did to the
        landscape is stored beside it. InputError if it is logged again: another process runs the
        same search, and visits would be counted twice.
        """
        if energy is not None and not np.isfinite(energy):
            energy = None
        values = {"status": status, "energy": energy, "positions": positions}
        values |= {"gradient_calls": gradient_calls, "minimum": minimum}
        values["hessian_vector_products"] = hessian_vector_products
        key = {"search": search, "step": step, "walker": walker}
        table = records.quench
        ended = sa.select(table.c.id).where(
            *(table.c[name] == value for name, value in key.items()), table.c.positions.is_(None)
        )
        with self.transaction():
            if self._rows(ended):
                raise self._taken()
            self._upsert(table, key, values)

    def _taken(self) -> InputError:
        return InputError(
            f"{self.path or 'the database in memory'}: another process goes on with the same"
            " search: let it end, or search with another seed"
        )

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
