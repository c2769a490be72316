"""Structures drawn and labelled with elastic networks, which cost nothing."""

import json

import ase.build
import numpy as np
import pytest
from ase.db import connect

from topokrates.dataset import found as finding
from topokrates.dataset import make as making
from topokrates.dataset import sampling
from topokrates.dataset.make import chosen, join, make, pieces
from topokrates.identity.integrity import changes
from topokrates.identity.matching import Matcher
from topokrates.landscape import Landscape
from topokrates.model.committee import CommitteePotential
from topokrates.model.errors import InputError
from topokrates.model.potential import ELECTRONVOLT, Potential
from topokrates.model.training import data
from topokrates.model.training.config import Data
from topokrates.molecule import Molecule, dihedral, set_rotor
from topokrates.search.moves import smallest_gaps

HEXANE, WATER = "smiles:CCCCCC", "smiles:O"


class Elastic(Potential):
    """Springs over bonds and angles as they are in the molecule's first geometry."""

    name, compiled, units = "elastic", False, ELECTRONVOLT

    def __init__(self, molecule):
        self.numbers, self.dtype = molecule.numbers, np.dtype("float64")
        bonded = np.zeros((molecule.n_atoms,) * 2, int)
        bonded[tuple(molecule.bonds.T)] = 1
        bonded += bonded.T
        self.i, self.j = np.nonzero(np.triu((bonded + bonded @ bonded) > 0, 1))
        self.rest = np.linalg.norm(molecule.positions[self.i] - molecule.positions[self.j], axis=1)

    def energies_and_forces(self, positions, active=None):
        vectors = positions[:, self.j] - positions[:, self.i]
        lengths = np.linalg.norm(vectors, axis=-1)
        energies = 10 * np.sum((lengths - self.rest) ** 2, axis=1)
        pull = (20 * (lengths - self.rest) / lengths)[..., None] * vectors
        forces = np.zeros_like(positions)
        for lane in range(len(positions)):
            np.add.at(forces[lane], self.i, pull[lane])
            np.add.at(forces[lane], self.j, -pull[lane])
        return energies, forces

    def hessian_vector_products(self, positions, vectors):
        raise NotImplementedError

    def with_dtype(self, dtype):
        return self

    def provenance(self):
        return {"name": self.name}


class ElasticField:
    """Elastic networks of the molecules that are asked for here."""

    name = "elastic"

    def bind(self, numbers, charge=0, unpaired=0, atoms=None):
        for text in (HEXANE, WATER):
            molecule = Molecule.from_text(text)
            if np.array_equal(molecule.numbers, numbers):
                return Elastic(molecule)
        raise AssertionError("another molecule")


@pytest.fixture
def elastic(monkeypatch):
    monkeypatch.setattr("topokrates.model.models.load", lambda *_, **__: ElasticField())


@pytest.fixture(scope="module")
def drawn():
    molecule = Molecule.from_text(HEXANE)
    potential = Elastic(molecule)
    frames = sampling.sample(molecule, potential, 100, np.random.default_rng(0))
    return molecule, potential, frames


def of_kind(frames, kind):
    return np.stack([x for k, x in frames if k == kind])


def test_every_kind_is_there_in_its_share(drawn):
    _, _, frames = drawn
    for kind, share in sampling.SHARES.items():
        assert sum(k == kind for k, _ in frames) == round(100 * share)
    assert len(frames) == 100
    assert sum(sampling.SHARES.values()) == pytest.approx(1)


def test_structures_are_what_their_kind_says(drawn):
    molecule, potential, frames = drawn
    energies = {k: potential.energies_and_forces(of_kind(frames, k))[0] for k in sampling.SHARES}
    assert energies["relaxing"].min() < 1e-3
    # as hot as 300 to 800 K make it: 54 coordinates, fewer springs
    assert 0.1 < np.median(energies["thermal"]) < 3
    for kind in ("dynamics", "transition"):
        assert not any(changes(molecule, x) for x in of_kind(frames, kind))
    # these springs do not keep apart what is not bonded, and at 800 K two may meet
    assert np.mean([bool(changes(molecule, x)) for x in of_kind(frames, "thermal")]) < 0.05
    assert 0.05 < np.median(energies["escape"]) < 2
    low, high = sampling.TOO_NEAR
    gaps = smallest_gaps(molecule, of_kind(frames, "clash"))
    assert (gaps > low).all()
    assert (gaps < high).all()
    # all three basins of a bond, and what lies between them
    middle = next(r for r in molecule.rotatable if r.kind != "methyl").atoms
    angles = np.degrees(dihedral(np.stack([x for _, x in frames]), middle))
    assert np.histogram(angles, [-180, -120, -60, 0, 60, 120, 180])[0].min() >= 3


def test_amides_are_turned_now_and_then(monkeypatch):
    molecule = Molecule.from_text("Ac-Gly-NHMe")
    rng = np.random.default_rng(0)
    turned = [sampling._some_amide_turned(molecule, molecule.positions, rng) for _ in range(200)]
    share = np.mean([bool(changes(molecule, x)) for x in turned])
    assert share == pytest.approx(sampling.CIS, abs=0.08)
    kinds = {str(changes(molecule, x).kind) for x in turned}
    assert kinds == {"", "cis-trans"}


def test_the_same_seed_draws_the_same(drawn):
    molecule, potential, frames = drawn
    again = sampling.sample(molecule, potential, 100, np.random.default_rng(0))
    assert [k for k, _ in again] == [k for k, _ in frames]
    np.testing.assert_array_equal([x for _, x in again], [x for _, x in frames])


def test_what_teaches_nothing_is_left_out():
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(size=(1, 5, 3)), axis=1) + rng.normal(0, 0.3, (7, 5, 3))
    energies, forces = np.zeros(7), rng.normal(size=(7, 5, 3))
    forces[1, 2, 0] = -50.0
    energies[2], energies[3] = np.nan, 30.0
    forces[4, 0, 0] = np.inf
    x[6] = x[5] @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 4.0  # turned, and shifted
    x[6] = x[6][[0, 2, 1, 4, 3]]  # and hydrogens exchanged
    prints = Matcher(Molecule.from_text("smiles:C")).fingerprint(x)
    assert chosen(prints, energies, forces).tolist() == [0, 5]
    assert chosen(prints, energies * np.nan, forces).tolist() == []


@pytest.fixture(scope="module")
def hopped(tmp_path_factory):
    """A landscape of hexane: four minima, a transition state, an estimate."""
    molecule = Molecule.from_text(HEXANE)
    potential = Elastic(molecule)
    rng = np.random.default_rng(0)
    middle = next(r for r in molecule.rotatable if r.kind != "methyl")
    path = tmp_path_factory.mktemp("landscape") / "hexane.db"
    about = {"name": "elastic", "units": {"energy": "eV", "length": "Å"}}
    with Landscape.create(molecule, about, path) as landscape:
        for k, angle in enumerate((60, 180, -60, 120)):
            x = set_rotor(molecule.positions, middle, np.radians(angle))
            landscape.add_minimum(0.1 * k, x + 0.02 * rng.normal(size=x.shape))
        top = set_rotor(molecule.positions, middle, np.radians(0))
        landscape.add_link((1, 2), 0.5, top, True)
        landscape.add_link((2, 3), 0.6, top + 0.1, False)
    return path, molecule, potential


def test_what_a_search_found(hopped):
    path, molecule, _ = hopped
    with Landscape.open(path) as landscape:
        found = finding.structures(landscape)
    assert found.labels == (
        ("minimum", 1), ("minimum", 2), ("minimum", 3), ("minimum", 4), ("transition", 1),
    )  # fmt: skip
    assert found.positions.shape == (5, molecule.n_atoms, 3)


def test_what_tells_the_most_comes_first(hopped):
    path, molecule, potential = hopped
    matcher = Matcher(molecule)
    with Landscape.open(path) as landscape:
        found = finding.structures(landscape)
    everything = finding.choose(found, 9, matcher)
    assert sorted(everything.labels) == sorted(found.labels)
    # each is at least as far from those before it as the next one will be
    prints = matcher.fingerprint(everything.positions)
    apart = [np.linalg.norm(prints[:k] - prints[k], axis=1).min() for k in range(1, 5)]
    assert apart == sorted(apart, reverse=True)
    # what is known, turned and shifted, is left out, and the farthest from it comes first
    known = found.positions[[1, 3]] @ np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2)[0] + 1
    left = finding.choose(found, 9, matcher, known)
    assert sorted(left.labels) == [("minimum", 1), ("minimum", 3), ("transition", 1)]
    theirs = matcher.fingerprint(known)
    first = [
        np.linalg.norm(theirs - one, axis=1).min() for one in matcher.fingerprint(left.positions)
    ]
    assert first[0] == max(first)

    # a committee's doubts decide, and what nobody can compute comes last
    class Other(Elastic):
        def energies_and_forces(self, positions, active=None):
            energies, forces = super().energies_and_forces(positions)
            scale = {found.positions[k, 0, 0]: k for k in range(5)}
            doubts = np.array([1.0, 5.0, 2.0, np.nan, 4.0])
            forces = forces + [[[doubts[scale[x[0, 0]]]]] for x in positions]
            return energies, forces

    committee = CommitteePotential("two", [potential, Other(molecule)])
    assert [name for _, name in finding.choose(found, 5, matcher, None, committee).labels] == [
        2, 1, 3, 1, 4,
    ]  # fmt: skip


def test_a_search_is_labelled(elastic, hopped, tmp_path):
    path, molecule, _ = hopped
    todo = pieces([str(path)], 30, "elastic", per_piece=15)
    assert [len(piece.found or ()) for piece in todo] == [5, 0]
    with np.load(make(todo, tmp_path / "out")) as made:
        kinds, numbers = np.unique(made["kind"], return_counts=True)
        assert dict(zip(kinds.tolist(), numbers.tolist(), strict=True)) == {
            "minimum": 4, "transition": 1, "thermal": 25,
        }  # fmt: skip
        assert set(made["sequence"]) == {molecule.name}
    # and once that is known nothing but what is shaken is left
    again = pieces([str(path)], 30, "elastic", unlike=[str(tmp_path / "out/dataset.npz")])
    assert [piece.found for piece in again] == [()]
    # what drew its own frames is not confused with this
    assert len({piece.file for piece in [*todo, *again, *pieces([HEXANE], 30, "elastic")]}) == 4


def test_a_committee_that_explored_says_what_it_doubts(elastic, hopped, tmp_path, monkeypatch):
    path, molecule, potential = hopped
    with Landscape.open(path) as landscape:
        found = finding.structures(landscape)
    about = {"name": "a,b", "members": [], "units": {"energy": "eV", "length": "Å"}}
    with Landscape.create(molecule, about, tmp_path / "several.db") as several:
        for k in range(4):
            several.add_minimum(0.1 * k, found.positions[k])

    class Other(Elastic):
        def energies_and_forces(self, positions, active=None):
            energies, forces = super().energies_and_forces(positions)
            doubtful = [np.allclose(x, found.positions[2]) for x in positions]
            return energies, forces + np.reshape(doubtful, (-1, 1, 1))

    committee = CommitteePotential("a,b", [potential, Other(molecule)])
    monkeypatch.setattr("topokrates.analysis.harmonics.own_potential", lambda _: committee)
    (piece,) = pieces([str(tmp_path / "several.db")], 10, "elastic")
    assert piece.found is not None
    assert piece.found[0] == ("minimum", 3)
    # one model alone has no doubts, and is not even loaded
    monkeypatch.setattr("topokrates.analysis.harmonics.own_potential", lambda _: 1 / 0)
    (piece,) = pieces([str(path)], 10, "elastic")
    assert len(piece.found or ()) == 5


def test_another_search_in_the_same_file_is_other_work(hopped, tmp_path):
    _, molecule, _ = hopped
    names = []
    for shift in (0.0, 0.3):
        about = {"name": "elastic", "units": {"energy": "eV", "length": "Å"}}
        x = molecule.positions.copy()
        x[0] += shift
        with Landscape.create(molecule, about, tmp_path / "same.db") as landscape:
            landscape.add_minimum(0.0, x)
        (piece,) = pieces([str(tmp_path / "same.db")], 10, "elastic")
        names.append(piece.file)
        for path in tmp_path.glob("same.db*"):
            path.unlink()
    assert names[0] != names[1]


def test_what_is_alike_is_made_once(elastic, tmp_path, monkeypatch):
    molecule = Molecule.from_text(WATER)
    mirrored = molecule.positions * [1, 1, -1] + 3
    frames = [("thermal", molecule.positions), ("thermal", mirrored[[0, 2, 1]])]
    monkeypatch.setattr("topokrates.dataset.sampling.sample", lambda *_: frames)
    with np.load(make(pieces([WATER], 10, "elastic"), tmp_path)) as made:
        assert len(made["energy"]) == 1


def test_a_database_of_ase_is_a_molecule(tmp_path):
    with connect(tmp_path / "ase.db") as database:
        database.write(ase.build.molecule("CH3OH"))
    assert making._molecule(str(tmp_path / "ase.db")).n_atoms == 6
    assert pieces([str(tmp_path / "ase.db")], 10, "elastic")[0].found is None
    (tmp_path / "torn.db").write_bytes((tmp_path / "ase.db").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"torn\.db"):
        pieces([str(tmp_path / "torn.db")], 10, "elastic")


def test_a_landscape_without_minima_is_told(run, tmp_path):
    molecule = Molecule.from_text(WATER)
    about = {"name": "elastic", "units": {"energy": "eV", "length": "Å"}}
    Landscape.create(molecule, about, tmp_path / "empty.db").close()
    done = run("dataset", tmp_path / "empty.db", "-o", "out")
    assert done.code == 2
    assert "no minimum" in done.err.splitlines()[-1]


def test_pieces_share_the_work():
    todo = pieces(["A", "B"], 250, "so3lr", per_piece=100, seed=3)
    assert [(p.molecule, p.frames) for p in todo] == [
        ("A", 100), ("A", 100), ("A", 50), ("B", 100), ("B", 100), ("B", 50),
    ]  # fmt: skip
    assert len({(p.seed, p.file) for p in todo}) == 6
    assert pieces(["A"], 105, "so3lr")[0].frames == 105
    others = pieces(["A", "B"], 250, "so3lr", per_piece=100, seed=4)
    assert not {p.seed for p in todo} & {p.seed for p in others}
    for arguments in (([], 50), (["A"], 5), (["A"], 50, "so3lr", None, 5)):
        with pytest.raises(InputError):
            pieces(*(arguments if len(arguments) > 2 else (*arguments, "so3lr")))


def test_a_run_that_was_killed_ends_in_the_same_file(elastic, tmp_path, monkeypatch):
    todo = pieces([HEXANE, WATER], 40, "elastic", per_piece=20)
    whole = make(todo, tmp_path / "whole").read_bytes()
    calls = []
    real = making.work

    def work(piece, folder):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(piece)
        return real(piece, folder)

    monkeypatch.setattr(making, "work", work)
    with pytest.raises(KeyboardInterrupt):
        make(todo, tmp_path / "cut")
    assert len(list((tmp_path / "cut").glob("*.npz"))) == 2
    monkeypatch.setattr(making, "work", real)
    with np.load(make(todo, tmp_path / "cut")) as a, np.load(tmp_path / "whole/dataset.npz") as b:
        assert a.files == b.files
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])
    assert whole == (tmp_path / "whole/dataset.npz").read_bytes()


def test_training_reads_what_was_made(elastic, tmp_path):
    todo = pieces([HEXANE, WATER], 20, "elastic")
    path = make(todo, tmp_path)
    frames = data.read(str(path), tmp_path, Data(files=[str(path)]))
    assert {len(frame.numbers) for frame in frames} == {3, 20}
    for frame in frames:
        energies, forces = (
            ElasticField().bind(frame.numbers).energies_and_forces(frame.positions[None])
        )
        assert frame.energy == pytest.approx(energies[0], abs=1e-4)
        np.testing.assert_allclose(frame.forces, forces[0], atol=1e-3)
    (tmp_path / todo[0].file).write_bytes(b"torn")
    with pytest.raises(InputError, match="remove it"):
        join(todo, tmp_path)


def test_the_command_takes_names_from_files(elastic, run, tmp_path):
    (tmp_path / "names.txt").write_text(f"# small ones\n{WATER}\n\n")
    done = run("dataset", "@names.txt", "--frames", 20, "-o", "out", "--json")
    assert done.code == 0
    told = json.loads(done.out)
    assert told["frames"] == sum(told["kinds"].values()) > 5
    assert (tmp_path / told["dataset"]).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["LJ13"], "clusters"),
        (["Ac-Xyz-NHMe"], "Xyz"),
        (["@none.txt"], "none.txt"),
        ([WATER, "--frames", "3"], "at least 10"),
        ([WATER, "--model", "nonsense"], "unknown model"),
        (["other.db"], "other.db"),
    ],
)
def test_what_cannot_be_made_is_told_in_one_line(run, arguments, words):
    done = run("dataset", *arguments, "-o", "out")
    assert done.code == 2
    assert words in done.err.splitlines()[-1]
