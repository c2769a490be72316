"""Databases of earlier schemas: brought up to date, or read as they are."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest

from topokrates.storage import sqlite
from topokrates.storage.database import SCHEMA_VERSION
from topokrates.storage.records import VibrationRecord
from topokrates.storage.store import Store

POSITIONS = np.random.default_rng(0).normal(size=(4, 3))
VIBRATION = VibrationRecord("minimum", 2, np.array([1 / 3]), np.ones(3), "C2", 2, 2, True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "landscape.db"


def add(store, energy=0.0):
    return store.insert_minimum(energy, POSITIONS, 1e-5, 0.1)


def without_vibrations(connection):
    """Version 4 came with them."""
    connection.execute("DROP TABLE vibration")


def test_the_first_schema_is_brought_up_to_date(path):
    """It did not count Hessian-vector products; nothing else changes."""
    with closing(Store.create(path, {"molecule": "X4"})) as store:
        search = store.search("a", {})
        add(store)
        store.log_quench(search, 0, 0, "ok", -1.0, POSITIONS, 6, 1)
    with closing(sqlite3.connect(path)) as connection:
        for table in ("search", "quench"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN hessian_vector_products")
        without_vibrations(connection)
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
        connection.commit()
    for _ in range(2):
        with closing(Store.open(path)) as store:
            assert store.meta()["schema_version"] == SCHEMA_VERSION
            (quench,) = store.quenches(search)
            assert (quench.status, quench.gradient_calls, quench.minimum) == ("ok", 6, 1)
            assert quench.hessian_vector_products == 0
            assert store.searches()[0].hessian_vector_products == 0


def second_schema(path):
    """A database as version 2 made it: minima and links must have positions."""
    with closing(Store.create(path, {"molecule": "X4"})) as store:
        add(store, -1 / 3)
        add(store, 1.0)
        store.insert_link((1, 2), energy=2.0, positions=-POSITIONS, verified=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for table in ("minimum", "link"):
            (sql,) = connection.execute(
                "SELECT sql FROM sqlite_master WHERE name = ?", (table,)
            ).fetchone()
            assert "positions BLOB," in sql
            connection.execute("PRAGMA legacy_alter_table = ON")  # leave what refers to it alone
            connection.execute(f"ALTER TABLE {table} RENAME TO old")
            connection.execute(sql.replace("positions BLOB,", "positions BLOB NOT NULL,"))
            connection.execute(f"INSERT INTO {table} SELECT * FROM old")
            connection.execute("DROP TABLE old")
        without_vibrations(connection)
        connection.execute("UPDATE meta SET value = '2' WHERE key = 'schema_version'")
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE minimum SET positions = NULL")


def what_was_stored(store):
    minima, (link,) = store.minima(), store.links()
    assert [(m.id, m.energy, m.visits) for m in minima] == [(1, -1 / 3, 1), (2, 1.0, 1)]
    assert {m.positions.tobytes() for m in minima} == {POSITIONS.tobytes()}
    assert (link.id, link.minima, link.energy, link.verified) == (1, (1, 2), 2.0, True)
    assert link.positions.tobytes() == (-POSITIONS).tobytes()


def test_the_second_schema_is_brought_up_to_date(path):
    """Its minima and links had to have positions; nothing else changes."""
    second_schema(path)
    with closing(Store.open(path)) as store:
        assert store.meta()["schema_version"] == SCHEMA_VERSION
        what_was_stored(store)
        store.insert_minimum(3.0, None, None, None)
        store.insert_link((2, 3), energy=4.0, positions=None, verified=False)
        with pytest.raises(Exception, match="FOREIGN KEY"):
            store.insert_link((1, 4), energy=4.0, positions=None, verified=False)
    with closing(Store.open(path)) as store:
        assert [m.id for m in store.minima()] == [1, 2, 3]
        assert store.minima()[-1].positions is store.links()[-1].positions is None


def test_the_second_schema_is_read_where_it_cannot_be_written(path, monkeypatch, refusal):
    second_schema(path)
    before = path.read_bytes()
    monkeypatch.setattr(sqlite, "writable", lambda path: False)
    with closing(Store.open(path)) as store:
        what_was_stored(store)
        assert store.vibrations() == {}
        assert "copy it" in refusal(store.save_vibration, VIBRATION)
    assert path.read_bytes() == before


def third_schema(path):
    """A database as version 3 made it: no vibrations were kept."""
    with closing(Store.create(path, {"molecule": "X4"})) as store:
        add(store, -1 / 3)
        add(store, 1.0)
        store.insert_link((1, 2), energy=2.0, positions=-POSITIONS, verified=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        without_vibrations(connection)
        connection.execute("UPDATE meta SET value = '3' WHERE key = 'schema_version'")


def test_the_third_schema_is_brought_up_to_date(path):
    third_schema(path)
    for known in ([], [("minimum", 2)]):
        with closing(Store.open(path)) as store:
            assert store.meta()["schema_version"] == SCHEMA_VERSION
            what_was_stored(store)
            assert list(store.vibrations()) == known
            store.save_vibration(VIBRATION)


def test_the_third_schema_is_read_where_it_cannot_be_written(path, monkeypatch, refusal):
    third_schema(path)
    before = path.read_bytes()
    monkeypatch.setattr(sqlite, "writable", lambda path: False)
    with closing(Store.open(path)) as store:
        what_was_stored(store)
        assert store.vibrations() == {}
        assert "copy it" in refusal(store.save_vibration, VIBRATION)
    assert path.read_bytes() == before
