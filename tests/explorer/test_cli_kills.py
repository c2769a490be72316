"""kill -9 at any moment: the same command goes on and ends as if nobody had touched it."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from topokrates.landscape import Landscape


def test_killed_searches_go_on_and_end_alike(tmp_path, topokrates):
    """kill -9 in the middle, the same command again: the minima of an undisturbed run."""
    arguments = ("explore", "LJ13", "--quenches", "96", "--seed", "3", "--no-connect", "--no-plot")
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    killed.mkdir()
    undisturbed.mkdir()
    with subprocess.Popen(
        topokrates.command(*arguments),
        cwd=killed,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 120
        while _minima(killed / "LJ13.db") < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = _minima(killed / "LJ13.db")
    runs = [topokrates(*arguments, "--json", cwd=folder) for folder in (killed, undisturbed)]
    assert [run.returncode for run in runs] == [0, 0]
    resumed, whole = (json.loads(run.stdout) for run in runs)
    assert 3 <= before <= len(whole["minima"])
    assert len(whole["minima"]) > 3
    assert min(m["energy"] for m in whole["minima"]) == pytest.approx(-44.326801, abs=1e-6)
    for key in ("energy", "visits"):
        np.testing.assert_allclose(
            [m[key] for m in resumed["minima"]], [m[key] for m in whole["minima"]], atol=1e-8
        )


@pytest.mark.slow
@pytest.mark.parametrize("searcher", ["basin-hopping", "minima-hopping"])
def test_twenty_kills_change_nothing(tmp_path, topokrates, searcher):
    """Wherever they fall: each comes a little after some more quenches were begun."""
    arguments = ("explore", "LJ13", "--quenches", "640", "--searcher", searcher, "--no-connect")
    arguments = (*arguments, "--no-plot", "--json")
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    killed.mkdir()
    undisturbed.mkdir()
    rng = np.random.default_rng(0)
    logged = 0
    for _ in range(20):
        with subprocess.Popen(
            topokrates.command(*arguments),
            cwd=killed,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            deadline, wanted = time.monotonic() + 200, logged + int(rng.integers(1, 28))
            while _quenches(killed / "LJ13.db") < wanted:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.2))
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        # nothing that was logged is lost
        assert _quenches(killed / "LJ13.db") >= wanted
        logged = _quenches(killed / "LJ13.db")
    assert 20 <= logged < 640
    resumed, whole = (topokrates(*arguments, cwd=folder) for folder in (killed, undisturbed))
    assert whole.returncode == resumed.returncode == 0
    found, expected = (json.loads(run.stdout)["minima"] for run in (resumed, whole))
    for key in ("energy", "visits"):
        assert [m[key] for m in found] == [m[key] for m in expected]


def _quenches(database: Path) -> int:
    if not database.exists():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as file:
            return file.execute("SELECT count(*) FROM quench").fetchone()[0]
    except sqlite3.OperationalError:  # it is being made
        return 0


def _minima(database: Path) -> int:
    if not database.exists():
        return 0
    try:
        with Landscape.open(database) as landscape:
            return len(landscape)
    except ValueError:  # it is being made
        return 0
