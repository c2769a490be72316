"""Files that several processes write, that are killed, and that find no room to grow."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import closing
from itertools import combinations

import numpy as np
import pytest

from topokrates.cli import app as cli
from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.model.errors import InputError
from topokrates.model.progress import Silent
from topokrates.molecule import Molecule
from topokrates.rounds import Search
from topokrates.stopping import Rules
from topokrates.storage import sqlite
from topokrates.storage.store import Store

WALKERS = 4
QUENCHES = 80


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a landscape?.db"  # a name that a URI must quote


def process(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


# rows

WRITER = """
    import sys
    import numpy as np
    from topokrates.storage.store import Store
    store = Store.create(sys.argv[1], {"molecule": "X4"})
    search = store.search("key", {})
    for step in range(int(sys.argv[2])):
        with store.transaction():
            minimum = store.insert_minimum(float(step), np.ones((4, 3)), 1e-5, 0.1)
            store.log_quench(search, int(sys.argv[3]), step, "ok", 0.0, None, 1, minimum.id)
        print(minimum.id, flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_what_was_reported_survives_a_kill(path, delay):
    with process(WRITER, path, 100_000, 0) as writer:
        assert writer.stdout is not None
        reported = [int(writer.stdout.readline())]
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        reported += [int(line) for line in writer.stdout if line.endswith("\n")]
    with closing(Store.open(path)) as store:
        stored = [m.id for m in store.minima()]
        assert set(reported) <= set(stored)
        assert [q.minimum for q in store.quenches(store.search("key", {}))] == stored
        store.insert_minimum(0.0, None, None, None)  # and it goes on


def test_two_processes_write_one_file(path):
    writers = [process(WRITER, path, 60, walker) for walker in (0, 1)]
    outputs = [writer.communicate(timeout=60)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    names = [int(line) for output in outputs for line in output.split()]
    with closing(Store.open(path)) as store:
        assert sorted(names) == [m.id for m in store.minima()] == list(range(1, 121))
        assert len(store.quenches(store.search("key", {}))) == 120


# searches

SEARCHER = """
    import sys
    from topokrates.landscape import Landscape
    from topokrates.model.analytic import LennardJones
    from topokrates.molecule import Molecule
    from topokrates.model.progress import Silent
    from topokrates.rounds import Search
    from topokrates.stopping import Rules
    path, name, (seed, walkers, quenches) = sys.argv[1], sys.argv[2], map(int, sys.argv[3:])
    molecule = Molecule.from_text(name)
    potential = LennardJones().bind(molecule.numbers)
    with Landscape.create(molecule, potential.provenance()) as landscape:  # compiles
        Search(landscape, potential, "basin-hopping", walkers, 99).run(Rules(walkers), Silent())
    print("ready", flush=True)
    sys.stdin.readline()
    with Landscape.create(molecule, potential.provenance(), path) as landscape:
        search = Search(landscape, potential, "basin-hopping", walkers, seed)
        search.run(Rules(quenches), Silent())
"""


def side_by_side(path, name, *seeds):
    """Searches with these seeds in one file at once: exit code and last words of each."""
    searchers = [process(SEARCHER, path, name, seed, WALKERS, QUENCHES) for seed in seeds]
    for searcher in searchers:
        assert searcher.stdout is not None
        assert searcher.stdout.readline() == "ready\n"
    for searcher in searchers:
        assert searcher.stdin is not None
        searcher.stdin.write("\n")
        searcher.stdin.flush()
    errors = [searcher.communicate(timeout=300)[1] for searcher in searchers]
    return [(searcher.returncode, error) for searcher, error in zip(searchers, errors, strict=True)]


def search(path, name, quenches=QUENCHES, progress=None):
    molecule = Molecule.from_text(name)
    potential = LennardJones().bind(molecule.numbers)
    with Landscape.create(molecule, potential.provenance(), path) as landscape:
        searcher = Search(landscape, potential, "basin-hopping", WALKERS, 0)
        searcher.run(Rules(quenches), progress or Silent())


def sound(path):
    """What every file must be, whatever happened to it."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    with Landscape.open(path) as landscape:
        searches, minima = landscape.store.searches(), landscape.minimum_list
        quenches = [q for s in searches for q in landscape.store.quenches(s.id)]
        ends = Counter(q.minimum for q in quenches if q.minimum is not None)
        assert {m.id: m.visits for m in minima} == ends
        assert sum(q.status == "new" for q in quenches) == len(minima)
        for a, b in combinations(minima, 2):
            assert abs(a.energy - b.energy) > 1e-4 or not landscape.matcher.same(
                a.positions, b.positions
            )


def account(path):
    """All that a search leaves behind, as it can be compared."""
    with Landscape.open(path) as landscape:
        searches = landscape.store.searches()
        log = [(s.settings["seed"], *q) for s in searches for q in landscape.store.quenches(s.id)]
        minima = [(m.id, m.energy, m.visits, m.positions.tobytes()) for m in landscape.minimum_list]
        return log, minima, [s[3:8] for s in searches]


def test_two_searches_share_one_file(path):
    assert side_by_side(path, "LJ8", 1, 2) == [(0, ""), (0, "")]
    sound(path)
    with Landscape.open(path) as landscape:
        searches = {s.settings["seed"]: s for s in landscape.store.searches()}
        assert set(searches) == {1, 2}
        for found in searches.values():
            rows = landscape.store.quenches(found.id)
            assert [(q.step, q.walker) for q in rows] == [divmod(k, WALKERS) for k in range(80)]
            assert (found.done, found.step) == (QUENCHES, QUENCHES // WALKERS)
            assert found.gradient_calls == sum(q.gradient_calls for q in rows)
        # LJ8 has eight minima, and each search alone meets most of them
        assert 6 <= len(landscape) <= 8
    with closing(sqlite3.connect(path)) as connection:
        order = [row[0] for row in connection.execute("SELECT search FROM quench ORDER BY id")]
    assert np.count_nonzero(np.diff(order)) > 5  # they did run at once


@pytest.mark.usefixtures("shared_coordinates")
@pytest.mark.parametrize("moment", [1, 9])
def test_one_search_is_not_run_twice_at_once(path, tmp_path, moment):
    """Its visits would be counted twice. Who is overtaken stops, and all is as if alone."""

    class Overtaken(Silent):
        left = moment

        def advance(self, done, message=""):
            self.left -= 1
            if self.left == 0:
                search(path, "LJ7")

    with pytest.raises(InputError, match="another process goes on with the same search"):
        search(path, "LJ7", progress=Overtaken())
    sound(path)
    search(tmp_path / "alone.db", "LJ7")
    assert account(path) == account(tmp_path / "alone.db")


# no room


@pytest.fixture
def pages(monkeypatch):
    """Sets the number of (small) pages beyond which no database can grow; None for no limit."""
    limit: list[int | None] = [None]
    connect = sqlite.connect

    def limited(path, mode):
        connection = connect(path, mode)
        connection.execute("PRAGMA page_size = 512")  # of a new file
        if limit[0] is not None:
            connection.execute(f"PRAGMA max_page_count = {limit[0]}")
        return connection

    monkeypatch.setattr(sqlite, "connect", limited)

    def set_limit(number):
        limit[0] = number

    return set_limit


@pytest.mark.usefixtures("shared_coordinates")
def test_a_search_on_a_full_disk_goes_on_when_there_is_room(path, tmp_path, pages):
    """Page by page: what was stored stays, and in the end nothing is different."""
    search(tmp_path / "alone.db", "LJ7")
    search(path, "LJ7", quenches=WALKERS)
    counts = []
    for room in range(10, 400, 4):
        pages(room)
        try:
            search(path, "LJ7")
        except InputError as error:
            message = str(error)
        else:
            break
        finally:
            pages(None)
        counts.append(len(account(path)[0]))
        assert message.startswith(f"{path} cannot grow: the disk is full")
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    sound(path)
    assert account(path) == account(tmp_path / "alone.db")


@pytest.mark.usefixtures("shared_coordinates")
def test_the_command_says_that_the_disk_is_full(tmp_path, pages, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["explore", "LJ7", "--quenches", "80", "--no-connect", "--no-plot", "--json"]
    pages(60)
    assert cli.main(command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("topokrates: LJ7.db cannot grow: the disk is full")
    assert "the same command goes on" in last
    assert "Traceback" not in err
    pages(None)
    with Landscape.open("LJ7.db") as landscape:
        before = len(landscape.store.quenches(1))
    assert 0 < before < 80
    assert cli.main(command) == 0
    sound("LJ7.db")
