"""Two landscapes of one molecule: what corresponds, what is missed or invented, by how much."""

import json

import numpy as np
import pytest

from topokrates.cli.app import main
from topokrates.landscape import KCAL_MOL_PER_EV, Landscape
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule, set_rotor

UNITS = {"units": {"energy": "eV", "length": "Å"}}
KCAL = 1 / KCAL_MOL_PER_EV


@pytest.fixture(scope="module")
def chain():
    return Molecule.from_text("smiles:FCCCC")


def conformer(molecule, *turns, seed=None):
    """The start geometry with its two inner bonds turned, degrees; perhaps turned as a whole."""
    x = np.array(molecule.positions)
    inner = [rotor for rotor in molecule.rotatable if rotor.kind == "other"]
    for rotor, angle in zip(inner, turns, strict=True):
        x = set_rotor(x, rotor, np.deg2rad(angle))
    if seed is not None:
        rng = np.random.default_rng(seed)
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        x = x @ (turn * np.linalg.det(turn)) + rng.normal(size=3)
        # the hydrogens of the methyl group change places
        methyl = [b for a, b in molecule.bonds if a == 4 and molecule.numbers[b] == 1]
        x[methyl] = x[np.roll(methyl, 1)]
    return x


@pytest.fixture(scope="module")
def landscapes(chain, tmp_path_factory):
    """Four minima here, of which the other has three and one of its own; in kcal/mol."""
    folder = tmp_path_factory.mktemp("compare")
    turns = [(0, 0), (120, 0), (0, 120), (120, 120), (90, 60)]
    ours = Landscape.create(chain, {"name": "teacher", **UNITS}, folder / "teacher.db")
    theirs = Landscape.create(chain, {"name": "student", **UNITS}, folder / "student.db")
    for energy, turn in zip((0.0, 1.0, 2.0, 3.0), turns[:4], strict=True):
        ours.add_minimum(energy * KCAL, conformer(chain, *turn))
    shifted = ((3, 3.6), (1, 1.3), (0, 0.3), (4, 5.0))  # in another order, 100 eV higher
    for k, energy in shifted:
        x = conformer(chain, *turns[k], seed=k)
        theirs.add_minimum(100 + energy * KCAL, x + 0.01 * np.sin(np.arange(x.size)).reshape(-1, 3))
    for pair, energy in (((1, 2), 4.0), ((2, 4), 6.0), ((1, 3), 5.0)):
        ours.add_link(pair, energy * KCAL, conformer(chain, *pair), True)
    # the direct way between 3 and 2 of the student is the higher one
    for pair, energy in (((2, 3), 9.0), ((1, 2), 7.0), ((2, 4), 8.0), ((3, 4), 5.8)):
        theirs.add_link(pair, 100 + energy * KCAL, conformer(chain, *pair), True)
    theirs.add_link((2, 3), 100 + 1.4 * KCAL, conformer(chain, 7, 7), False)  # an estimate
    yield ours, theirs
    ours.close()
    theirs.close()


def test_minima_correspond_whatever_their_order_turn_and_numbering(landscapes):
    found = landscapes[0].compare(landscapes[1])
    pairs = found.minima.dropna()
    assert pairs[["id", "id there"]].to_numpy().tolist() == [[1, 3], [2, 2], [4, 1]]
    assert found.missed == [3]
    assert found.invented == [4]
    assert np.all(pairs["RMSD (Å)"] < 0.02)
    assert np.all(pairs["RMSD (Å)"] > 0.001)
    # errors 0.3, 0.3 and 0.6 less their mean
    assert pairs["energy error (kcal/mol)"].to_numpy() == pytest.approx([-0.1, -0.1, 0.2])
    assert pairs["energy there (kcal/mol)"].to_numpy() == pytest.approx([0.0, 1.0, 3.3])
    assert found.minima["energy (kcal/mol)"].dropna().is_monotonic_increasing


def test_barriers_are_those_of_the_best_way_from_the_lower_minimum(landscapes):
    found = landscapes[0].compare(landscapes[1])
    # 1-2 is 3-2 there, by way of 4: 8.0 above 0.3; 2-4 is 2-1: 7.0 above 1.3; 3 has no counterpart
    rows = found.barriers.to_numpy()
    assert rows == pytest.approx(np.array([[1, 2, 4.0, 7.7, 3.7], [2, 4, 5.0, 5.7, 0.7]]))
    told = found.summary()
    assert (told["found"], told["missed"], told["invented"]) == (3, 1, 1)
    assert told["barrier MAE (kcal/mol)"] == pytest.approx(2.2)
    assert told["energy MAE (kcal/mol)"] == pytest.approx(0.4 / 3)


def test_the_closest_correspond_first(chain, tmp_path):
    """Whatever comes first: the second minimum here is the one that is there."""
    with (
        Landscape.create(chain, {"name": "x", **UNITS}, tmp_path / "x.db") as ours,
        Landscape.create(chain, {"name": "y", **UNITS}, tmp_path / "y.db") as theirs,
    ):
        for energy, turn in ((0.0, 12), (1.0, 2)):
            ours.add_minimum(energy * KCAL, conformer(chain, turn, 0))
        theirs.add_minimum(0.0, conformer(chain, 0, 0))
        found = ours.compare(theirs)
        assert found.missed == [1]
        assert 0 < found.minima["RMSD (Å)"].min() < 0.1


def test_the_other_way_round(landscapes):
    found = landscapes[1].compare(landscapes[0])
    assert (found.missed, found.invented) == ([4], [3])
    assert landscapes[0].compare(landscapes[0]).missed == []


def test_what_cannot_be_compared_is_refused(landscapes, chain, tmp_path):
    ours = landscapes[0]
    with pytest.raises(InputError, match="above 0"):
        ours.compare(ours, within=0.0)
    other = Molecule.from_text("smiles:CCO")
    with (
        Landscape.create(other, {"name": "x", **UNITS}, tmp_path / "x.db") as ethanol,
        pytest.raises(InputError, match=r"smiles:FCCCC, not of smiles:CCO"),
    ):
        ours.compare(ethanol)
    with (
        Landscape.create(chain, {"name": "x", **UNITS}, tmp_path / "y.db") as empty,
        pytest.raises(InputError, match="no minimum"),
    ):
        ours.compare(empty)


def test_on_the_command_line(landscapes, capsys):
    files = [str(landscape.store.path) for landscape in landscapes]
    assert main(["compare", *files]) == 0
    text = capsys.readouterr().out
    assert "student finds 3 of the 4 minima of teacher, and 1 that it lacks" in text
    assert "none" in text
    assert main(["compare", *files, "--json", "--within", "0.005"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["summary"]["found"] == 0
    assert read["summary"]["energy_MAE"] is None
    assert len(read["minima"]) == 8
    assert read["minima"][0]["id_there"] is None
