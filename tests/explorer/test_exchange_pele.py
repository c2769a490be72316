"""pele's database: what is read of it and what pele reads, and that no pickle is run."""

import os
import pickle
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from topokrates import exchange

PELE = """
    CREATE TABLE tbl_minima (_id INTEGER NOT NULL, energy FLOAT, coords BLOB, fvib FLOAT,
        pgorder INTEGER, invalid INTEGER, user_data BLOB, PRIMARY KEY (_id));
    CREATE TABLE tbl_transition_states (_id INTEGER NOT NULL, energy FLOAT, coords BLOB,
        _minimum1_id INTEGER, _minimum2_id INTEGER, eigenval FLOAT, eigenvec BLOB, fvib FLOAT,
        pgorder INTEGER, invalid INTEGER, user_data BLOB, PRIMARY KEY (_id));
    CREATE TABLE tbl_system_property (_id INTEGER NOT NULL, property_name VARCHAR,
        int_value INTEGER, float_value FLOAT, string_value VARCHAR, pickle_value BLOB,
        PRIMARY KEY (_id));
    PRAGMA user_version = 2;
"""
# np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) as Python 2 and its numpy pickled it
OLD_ARRAY = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87R"
    b"(K\x01K\x06\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tb\x89U0" + np.arange(1.0, 7.0).tobytes() + b"tb."
)


def of_pele(path, minima, states=()):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(PELE)
        sql = "INSERT INTO tbl_minima (_id, energy, coords, invalid) VALUES (?, ?, ?, ?)"
        connection.executemany(sql, minima)
        connection.executemany(
            "INSERT INTO tbl_transition_states (energy, coords, _minimum1_id, _minimum2_id,"
            " eigenval, invalid) VALUES (?, ?, ?, ?, ?, 0)",
            states,
        )
        connection.commit()
    return path


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_database_of_pele_is_read(tmp_path, protocol, rows):
    x = np.random.default_rng(0).normal(size=(5, 6))
    blobs = [pickle.dumps(row, protocol=protocol) for row in x]
    path = of_pele(
        tmp_path / "pele.db",
        [(2, -1.5, blobs[0], 0), (5, -1 / 3, blobs[1], 0), (7, -1, blobs[2], 1)],
        [(0.5, blobs[3], 5, 2, -0.25), (0.75, blobs[4], 5, 7, None)],
    )
    before = path.read_bytes()
    with exchange.read(path, "pele", "LJ2") as back:
        (first, second), (state,) = rows(back)
        assert [first[0]["energy"], second[0]["energy"]] == [-1.5, -1 / 3]
        assert first[1] == x[0].tobytes()
        assert second[1] == x[1].tobytes()
        assert (state[0]["minima"], state[0]["energy"]) == ((1, 2), 0.5)
        assert (state[0]["verified"], state[0]["lowest_eigenvalue"]) == (False, -0.25)
        assert state[1] == x[3].tobytes()
        assert first[0]["max_force"] is first[0]["lowest_eigenvalue"] is None
    assert path.read_bytes() == before


def test_arrays_of_python_2_and_none_at_all(tmp_path):
    nothing = pickle.dumps(np.zeros(1), protocol=2)
    minima = [(1, -1.0, OLD_ARRAY, 0), (2, -0.5, nothing, 0), (3, -0.25, None, 0)]
    with exchange.read(of_pele(tmp_path / "a.db", minima), "pele", "LJ2") as back:
        first, second, third = back.minimum_list
        assert first.positions is not None
        assert first.positions.ravel().tolist() == [1, 2, 3, 4, 5, 6]
        assert second.positions is third.positions is None


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bomb",)


@pytest.mark.parametrize("place", ["coords", "user_data"])
def test_a_pickle_that_runs_code_is_not_run(tmp_path, monkeypatch, place, refusal):
    monkeypatch.chdir(tmp_path)
    array = pickle.dumps(np.ones(6), protocol=2)
    path = of_pele(tmp_path / "a.db", [(1, -1.0, array, 0)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE tbl_minima SET {place} = ?", (pickle.dumps(Bomb()),))
        connection.commit()
    if place == "coords":
        assert "nothing was run" in refusal(exchange.read, path, "pele", "LJ2", "new.db")
        assert not Path("new.db").exists()
    else:
        exchange.read(path, "pele", "LJ2").close()
    assert os.listdir(tmp_path) == ["a.db"]


def test_what_pele_reads(made_lj4, lj4, tmp_path, positions):
    exchange.export(made_lj4, tmp_path / "out", "pele")
    with closing(sqlite3.connect(tmp_path / "out")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        ours = [
            row[1]
            for table in ("tbl_minima", "tbl_transition_states", "tbl_system_property")
            for row in connection.execute(f"PRAGMA table_info({table})")
        ]
        coords = connection.execute("SELECT coords FROM tbl_minima WHERE _id = 2").fetchone()[0]
        ends = connection.execute(
            "SELECT _minimum1_id, _minimum2_id, eigenval FROM tbl_transition_states"
        ).fetchall()
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(PELE)
        theirs = [
            row[1]
            for table in ("tbl_minima", "tbl_transition_states", "tbl_system_property")
            for row in connection.execute(f"PRAGMA table_info({table})")
        ]
    assert ours == theirs
    array = pickle.loads(coords)  # our own
    assert array.shape == (12,)
    assert (array == positions(lj4, 1).ravel()).all()
    assert ends == [(1, 2, -1 / 3), (2, 3, None), (3, 3, None)]
