"""What the store promises: all or nothing, nothing reported is lost, errors in one line."""

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pytest

from topokrates.storage.records import Link, Minimum, VibrationRecord
from topokrates.storage.store import Store

POSITIONS = np.random.default_rng(0).normal(size=(4, 3))
VIBRATION = VibrationRecord(
    "minimum", 2, np.array([-0.1, 1 / 3]), np.array([0.0, 1, 1 / 7]), "C2", 2, 2, True
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a landscape?.db"  # a name that a URI must quote


@pytest.fixture(params=["file", "memory"])
def store(request, path):
    with_file = request.param == "file"
    store = Store.create(path if with_file else None, {"molecule": "X4"})
    yield store
    store.close()


def add(store, energy=0.0):
    return store.insert_minimum(energy, POSITIONS, 1e-5, 0.1)


def test_rows_come_back_to_the_bit(store):
    minimum = store.insert_minimum(-0.1 - 1e-16, POSITIONS, 1e-5, None)
    link = store.insert_link((1, 1), energy=1 / 3, positions=-POSITIONS, verified=True)
    (stored,), (joined,) = store.minima(), store.links()
    assert (stored.id, stored.energy, stored.visits) == (1, -0.1 - 1e-16, 1)
    assert stored.lowest_eigenvalue is None
    assert stored.positions.tobytes() == POSITIONS.tobytes() == minimum.positions.tobytes()
    assert joined.minima == link.minima == (1, 1)
    assert joined.energy == 1 / 3
    assert joined.verified is True
    assert joined.positions.tobytes() == (-POSITIONS).tobytes()


def test_a_reopened_file_holds_what_was_committed(path):
    first = Store.create(path, {"molecule": "X4"})
    add(first, 1.5)
    first.add_visit(1)
    first.close()
    assert os.listdir(path.parent) == [path.name]  # the log is folded in
    again = Store.open(path)
    assert again.meta()["molecule"] == "X4"
    assert [(m.energy, m.visits) for m in again.minima()] == [(1.5, 2)]
    again.close()
    kept = Store.create(path, {"molecule": "another"})
    assert kept.meta()["molecule"] == "X4"
    kept.close()


def test_a_transaction_is_all_or_nothing(store):
    add(store)
    search = store.search("key", {})

    def half():
        with store.transaction():
            minimum = add(store)
            store.log_quench(search, 0, 0, "ok", 0.0, POSITIONS, 7, minimum.id)
            raise RuntimeError

    before = store.rollbacks
    with pytest.raises(RuntimeError):
        half()
    assert store.rollbacks > before
    assert len(store.minima()) == 1
    assert store.quenches(search) == []


def test_an_inner_transaction_undoes_its_own_writes_alone(store):
    with store.transaction():
        add(store, 1.0)
        try:
            with store.transaction():
                add(store, 2.0)
                raise RuntimeError
        except RuntimeError:
            pass
        add(store, 3.0)
    assert [m.energy for m in store.minima()] == [1.0, 3.0]


def test_an_identifier_is_never_given_twice(store):
    add(store)
    first = store.insert_link((1, 1), energy=1.0, positions=POSITIONS, verified=False)
    store.delete_links([first.id])
    second = store.insert_link((1, 1), energy=1.0, positions=POSITIONS, verified=False)
    assert store.link_ids() == {second.id}
    assert second.id > first.id


def test_links_of_unknown_minima_are_refused(store):
    with pytest.raises(Exception, match="FOREIGN KEY"):
        store.insert_link((1, 2), energy=1.0, positions=POSITIONS, verified=True)
    assert store.links() == []


def test_vibrations_come_back_to_the_bit_and_go_with_their_link(store):
    add(store)
    link = store.insert_link((1, 1), energy=1.0, positions=POSITIONS, verified=True)
    same_id = VIBRATION._replace(id=link.id)
    kept = [same_id, same_id._replace(kind="link", chiral=False, symbol="")]
    for record in (VIBRATION, *kept):
        store.save_vibration(record)
    found = store.vibrations()
    assert list(found) == [("link", link.id), ("minimum", 1), ("minimum", 2)]
    for record in kept:
        back = found[record.kind, record.id]
        assert back.frequencies.tobytes() == record.frequencies.tobytes()
        assert back.moments.tobytes() == record.moments.tobytes()
        assert back[4:] == record[4:]
        assert type(back.chiral) is bool
    store.delete_links([link.id])
    assert list(store.vibrations()) == [("minimum", 1), ("minimum", 2)]
    again = VIBRATION._replace(frequencies=np.array([1 / 3]))
    store.save_vibration(again)
    assert store.vibrations()["minimum", 2].frequencies.tolist() == [1 / 3]


def test_searches_are_kept_by_key(store):
    settings = {"searcher": "basin-hopping", "seed": 3, "temperature": None}
    number = store.search("a", settings)
    assert store.search("a", {"other": 1}) == number != store.search("b", {})
    store.save_search("a", step=2, done=8, target=20, gradient_calls=100, state=b"\0\1")
    spent = {"gradient_calls": 150, "hessian_vector_products": 40}
    store.save_search("a", step=3, done=12, target=20, **spent)
    record = store.load_search("a")
    assert record == (number, "a", settings, 3, 12, 20, 150, 40, b"\0\1")
    assert store.load_search("none") is None
    assert [search.key for search in store.searches()] == ["a", "b"]
    with pytest.raises(KeyError):
        store.save_search("none", step=0, done=0, target=0, gradient_calls=0)


def test_a_quench_is_logged_until_it_has_ended(store):
    search = store.search("a", {})
    add(store)
    store.log_quench(search, 1, 0, "waiting", float("nan"), POSITIONS, 5, None)
    store.log_quench(search, 0, 0, "ok", -1.0, None, 6, 1)
    store.log_quench(search, 1, 0, "waiting", -1.5, -POSITIONS, 6, None)
    (first, second) = store.quenches(search, 0)
    assert (first.status, second.energy, second.gradient_calls) == ("ok", -1.5, 6)
    assert second.positions.tobytes() == (-POSITIONS).tobytes()
    store.log_quench(search, 1, 0, "ok", -2.0, None, 7, 1, 66)
    store.log_quench(search, 0, 1, "broken", float("nan"), None, 8, None)
    assert [q.hessian_vector_products for q in store.quenches(search)] == [0, 66, 0]
    assert [(q.walker, q.status, q.energy) for q in store.quenches(search, 0)] == [
        (0, "ok", -1.0),
        (1, "ok", -2.0),
    ]
    last = store.quenches(search)[-1]
    assert (last.step, last.energy, last.positions, last.minimum) == (1, None, None, None)


def test_a_search_is_not_logged_twice(store, refusal):
    """What a second process would do that runs the same one."""
    search, spent = store.search("a", {}), {"done": 8, "target": 20, "gradient_calls": 100}
    add(store)
    store.log_quench(search, 0, 0, "ok", -1.0, None, 6, 1)
    store.save_search("a", step=2, state=b"2", **spent)

    def again(positions):
        with store.transaction():
            store.add_visit(1)
            store.log_quench(search, 0, 0, "ok", -2.0, positions, 6, 1)

    before = store.quenches(search), store.load_search("a")
    for action in (
        lambda: again(None),
        lambda: again(POSITIONS),
        lambda: store.save_search("a", step=1, **spent),
    ):
        assert "another process goes on with the same search" in refusal(action)
    assert (store.quenches(search), store.load_search("a")) == before
    assert store.visits() == {1: 1}
    store.save_search("a", step=2, **spent)


def test_attempts_are_counted_by_pair_and_strategy(store):
    add(store), add(store)
    store.log_attempt(2, 1, "no saddle")
    store.log_attempt(1, 2, "other minima")
    store.log_attempt(1, 2, "no saddle", "single-ended")
    assert store.attempts() == [
        ((1, 2), "band", "other minima", 2),
        ((1, 2), "single-ended", "no saddle", 1),
    ]


# files that cannot be used


def test_opening_a_missing_file_does_not_make_it(path, refusal):
    assert "no such database" in refusal(Store.open, path)
    assert os.listdir(path.parent) == []


def test_places_that_cannot_hold_a_database(tmp_path, refusal):
    assert "is a folder" in refusal(Store.open, tmp_path)
    assert "is a folder" in refusal(Store.create, tmp_path, {})
    assert "does not exist" in refusal(Store.create, tmp_path / "none" / "a.db", {})
    if Path("/proc").is_dir():
        assert "/proc/a.db" in refusal(Store.create, "/proc/a.db", {})


@pytest.mark.parametrize("action", [Store.open, lambda path: Store.create(path, {})])
def test_files_that_are_not_ours_are_refused_and_left_alone(action, tmp_path, refusal):
    text = tmp_path / "text.db"
    text.write_text("not a database\n" * 100)
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    connection.execute("INSERT INTO meta VALUES ('format', '\"another\"')")
    connection.commit()
    connection.close()
    for path in (text, other):
        before = path.read_bytes()
        message = refusal(action, path)
        assert str(path) in message
        assert "not a topokrates database" in message
        assert path.read_bytes() == before


def test_an_empty_file_is_not_a_landscape_but_can_become_one(path, refusal):
    path.touch()
    assert "is empty" in refusal(Store.open, path)
    Store.create(path, {"molecule": "X4"}).close()
    Store.open(path).close()


def test_rows_are_stored_all_or_none(store):
    minima = [Minimum(k, float(k), None, None, None, k) for k in (1, 2)]
    with pytest.raises(Exception, match="FOREIGN KEY"):
        store.fill(minima, [Link(1, (1, 3), 0.0, None, False)])
    assert store.minima() == []
    store.fill(minima, [Link(1, (1, 2), 0.0, None, False)])
    assert [(m.id, m.visits) for m in store.minima()] == [(1, 1), (2, 2)]
    assert store.links()[0].minima == (1, 2)
    assert add(store).id == 3


def test_a_later_schema_is_refused(path, refusal):
    Store.create(path, {}).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    connection.commit()
    connection.close()
    assert "schema version 99" in refusal(Store.open, path)


@pytest.mark.parametrize("damage", ["cut in half", "pages overwritten"])
def test_a_damaged_file_is_refused(path, damage, refusal):
    store = Store.create(path, {})
    with store.transaction():
        for _ in range(300):
            add(store)
    store.close()
    data = path.read_bytes()
    half = len(data) // 2
    rest = b"" if damage == "cut in half" else b"\xff" * (len(data) - half)
    path.write_bytes(data[:half] + rest)
    assert "damaged" in refusal(Store.open, path)


def test_a_full_disk_is_a_clear_error_and_leaves_a_good_database(path, refusal):
    store = Store.create(path, {})
    add(store, 1.0)
    with store.snapshot() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    def fill():
        with store.transaction():
            for _ in range(1000):
                add(store, 2.0)

    assert "disk is full" in refusal(fill)
    assert [m.energy for m in store.minima()] == [1.0]
    store.close()
    assert [m.energy for m in Store.open(path).minima()] == [1.0]


def test_a_read_only_folder_can_be_read(path, refusal):
    folder = Path(tempfile.mkdtemp())  # not below a folder that only its owner may enter
    try:
        Store.create(path, {"molecule": "X4"}).close()
        copy = folder / "a.db"
        shutil.copy(path, copy)
        copy.chmod(0o444)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            store = Store.open(copy)
            assert store.meta()["molecule"] == "X4"
            assert "read-only" in refusal(add, store)
            assert str(folder) in refusal(Store.create, folder / "b.db", {})
            store.close()
        finally:
            if root:
                os.seteuid(0)
        assert os.listdir(folder) == ["a.db"]
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


# several connections


def test_a_change_by_another_connection_is_noticed(path):
    ours = Store.create(path, {})
    theirs = Store.open(path)
    before = ours.data_version()
    add(ours)
    assert ours.data_version() == before
    add(theirs)
    assert ours.data_version() != before
    assert len(ours.minima(after=1)) == 1
