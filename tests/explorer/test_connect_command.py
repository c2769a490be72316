"""`topokrates connect`: what it prints where, its exit codes, and that it goes on."""

import json
import shutil
from pathlib import Path

import pytest

from topokrates.cli import app as cli
from topokrates.landscape import Landscape

KEYS = {
    "attempts",
    "transition_states",
    "minima",
    "gradient_calls",
    "hessian_vector_products",
    "connected_components",
}


@pytest.fixture
def connect(run):
    """Runs `topokrates connect` with arguments in an empty folder."""
    return lambda *arguments: run("connect", *arguments)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The minima of LJ6, not connected."""
    database = tmp_path_factory.mktemp("searched") / "LJ6.db"
    options = ["--quenches", "16", "--no-connect", "--no-plot", "--json"]
    assert cli.main(["explore", "LJ6", *options, "--database", str(database)]) == 0
    return database


@pytest.fixture
def lj6(searched, tmp_path):
    return shutil.copy(searched, tmp_path / "LJ6.db")


def test_it_connects_and_says_what_it_did(connect, lj6):
    first = connect(lj6, "--saddles", 100, "--json")
    assert first.code == 0
    done = json.loads(first.out)
    assert set(done) == KEYS
    with Landscape.open(lj6) as landscape:
        links, log = landscape.link_list, landscape.store.attempts()
        order = [m.id for m in landscape.minimum_list]
        energies = [m.energy for m in landscape.minimum_list]
    # the complete network
    known = json.loads((Path(__file__).parent / "lj_networks.json").read_text())["LJ6"]
    assert energies == pytest.approx(known["minima"], abs=1e-6)
    found = [link for link in links if link.verified]
    assert [link.energy for link in found] == pytest.approx(
        [energy for energy, _ in known["saddles"]], abs=1e-5
    )
    sides = [sorted(order.index(name) for name in link.minima) for link in found]
    assert sides == [pair for _, pair in known["saddles"]]
    assert done["connected_components"] == 1
    assert done["attempts"] == len(log) >= 40
    assert done["transition_states"] == len(found)
    assert done["minima"] == 0
    assert done["gradient_calls"] > 0
    assert done["hessian_vector_products"] > 0
    # again: nothing is left to do
    again = json.loads(connect(lj6, "--saddles", 100, "--json").out)
    assert again == dict.fromkeys(KEYS, 0) | {"connected_components": 1}
    # for people: the landscape, and one line on this call
    told = connect(lj6, "--saddles", 100)
    assert told.code == 0
    assert told.out.endswith("this call: 0 attempts, 0 new transition states, 0 new minima\n")
    with Landscape.open(lj6) as landscape:
        assert landscape.store.attempts() == log
        assert [(k.id, k.energy) for k in landscape.link_list] == [(k.id, k.energy) for k in links]


def test_options_reach_the_work(connect, lj6):
    assert json.loads(connect(lj6, "--attempts", 0, "--saddles", 0, "--json").out)["attempts"] == 0
    done = json.loads(connect(lj6, "--attempts", 1, "--saddles", 0, "--json").out)
    assert done["attempts"] == 1
    options = ("--strategy", "shorten", "--between", 1, 2, "--json")
    assert connect(lj6, *options).code == 0
    done = json.loads(connect(lj6, "--lowest", 1, "--saddles", 1, "--attempts", 1, "--json").out)
    with Landscape.open(lj6) as landscape:
        lowest = landscape.minimum_list[0].id
        alone = [a.minima for a in landscape.store.attempts() if a.strategy.startswith("uphill")]
    assert alone
    assert set(alone) == {(lowest, lowest)}
    assert done["attempts"] == len(alone)


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["none.db"], "none.db"),
        (["LJ6.db", "--strategy", "hope"], "'hope'"),
        (["LJ6.db", "--strategy", "shorten"], "two minima"),
        (["LJ6.db", "--between", "1", "2"], "two minima"),
        (["LJ6.db", "--strategy", "shorten", "--between", "1", "77"], "no minimum 77"),
        (["LJ6.db", "--strategy", "shorten", "--between", "1"], "between"),
        (["LJ6.db", "--lowest", "0"], "0 lowest"),
        (["LJ6.db", "--attempts", "-1"], "-1 attempts"),
        (["LJ6.db", "--saddles", "many"], "'many'"),
        (["LJ6.db", "--device", "abacus"], "abacus"),
        ([], "DB"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_used_is_refused_in_one_line(connect, lj6, tmp_path, arguments, culprit):
    with Landscape.open(lj6) as landscape:
        before = landscape.to_dict()
    result = connect(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1, result.err
    assert result.err.startswith("topokrates: ")
    assert culprit in result.err
    with Landscape.open(lj6) as landscape:
        assert landscape.to_dict() == before
    assert not (tmp_path / "none.db").exists()


def test_what_another_program_has_found_has_no_potential(run, connect, dps, tmp_path):
    options = ("--format", "pathsample", "--molecule", "LJ4", "--database", "theirs.db")
    assert run("import", dps, *options).code == 0
    with Landscape.open(tmp_path / "theirs.db") as landscape:
        before = landscape.to_dict()
    result = connect("theirs.db")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "theirs.db" in result.err
    with Landscape.open(tmp_path / "theirs.db") as landscape:
        assert landscape.to_dict() == before
