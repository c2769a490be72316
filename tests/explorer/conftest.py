"""What tests of the explorer share: refusals, command lines, and landscapes to export."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from topokrates.cli import app as cli
from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.model.compiled import CompiledPotential
from topokrates.model.errors import InputError
from topokrates.model.potential import REDUCED
from topokrates.model.progress import Silent
from topokrates.molecule import Molecule
from topokrates.relaxation.internals import coordinates

NETWORKS = json.loads((Path(__file__).parent / "lj_networks.json").read_text())

LJ = {"name": "LJ", "units": {"energy": "epsilon", "length": "sigma"}, "version": "1"}


@pytest.fixture(scope="session")
def refusal() -> Callable[..., str]:
    """Calls what must raise InputError, and returns its one line."""

    def refusal(action: Callable[..., Any], *arguments: Any, **options: Any) -> str:
        with pytest.raises(InputError) as error:
            action(*arguments, **options)
        message = str(error.value)
        assert "\n" not in message
        return message

    return refusal


class Program:
    """The command line in a process of its own."""

    @staticmethod
    def command(*arguments: str) -> list[str]:
        code = "import sys; from topokrates.cli.app import main; sys.exit(main())"
        return [sys.executable, "-c", code, *arguments]

    def __call__(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*arguments),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="session")
def topokrates() -> Program:
    return Program()


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, tmp_path, monkeypatch) -> Callable[..., Result]:
    """Runs a command line in an empty folder: run("show", "x.db") -> Result."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any) -> Result:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return run


class Killed(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches a signal."""


class Killer(Silent):
    """Dies at the k-th sign of life."""

    def __init__(self, k: int):
        self.left = k

    def advance(self, done: int, message: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.fixture(scope="session")
def killed() -> type[BaseException]:
    return Killed


@pytest.fixture(scope="session")
def killer() -> type[Killer]:
    return Killer


@dataclass(frozen=True)
class Peroxide:
    """H2O2 of springs between atoms 0-1-2-3, and a repulsion of its ends: a cis and a trans."""

    def __call__(self, inputs, positions, lists):
        def apart(i, j):
            return jnp.sqrt(jnp.sum((positions[i] - positions[j]) ** 2))

        bonds = sum(15 * (apart(i, j) - r) ** 2 for i, j, r in inputs["bonds"])
        angles = sum(5 * (apart(i, j) - r) ** 2 for i, j, r in inputs["angles"])
        return bonds + angles + apart(*inputs["ends"]) ** -3


@pytest.fixture(scope="session")
def peroxide():
    """A molecule's climb: internal coordinates, step by step."""
    molecule = Molecule.from_text("smiles:OO")
    assert molecule.numbers.tolist() == [8, 8, 1, 1]
    inputs = {
        "bonds": [(0, 1, 1.45), (0, 2, 0.97), (1, 3, 0.97)],
        "angles": [(0, 3, 1.9), (1, 2, 1.9)],
        "ends": (2, 3),
    }
    made = CompiledPotential("springs", molecule.numbers, Peroxide(), inputs, REDUCED, {})
    potential = made.with_dtype("float64")
    internal = coordinates(molecule.bonds, molecule.positions)
    return molecule, potential, internal


# import and export


@pytest.fixture(scope="session")
def lj4() -> Molecule:
    return Molecule.from_text("LJ4")


@pytest.fixture(scope="session")
def positions() -> Callable[[Molecule, int], np.ndarray]:
    """Structures (N, 3) of a molecule by a seed: its own, hardly distorted; of a cluster, dense."""

    def positions(molecule: Molecule, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=(molecule.n_atoms, 3))
        return 0.5 * noise if molecule.is_cluster else molecule.positions + 0.02 * noise

    return positions


@pytest.fixture(scope="session")
def made(positions) -> Callable[..., Landscape]:
    """Three minima, a transition state, a degenerate one, and an estimate."""

    def made(
        molecule: Molecule, provenance: dict[str, Any] = LJ, database: Path | None = None
    ) -> Landscape:
        landscape = Landscape.create(molecule, provenance, database)
        for k, energy in enumerate([-1 / 3, -2 / 3, 0.1 + 0.2]):
            landscape.add_minimum(energy, positions(molecule, k), 1e-5 / 3, 0.1 + k)
        landscape.visit(2)
        landscape.add_link((1, 2), 1 / 7, positions(molecule, 10), True, 1e-6, 1, -1 / 3)
        landscape.add_link((3, 2), 5 / 7, positions(molecule, 11), False)
        landscape.add_link((3, 3), 6 / 7, positions(molecule, 12), True)
        return landscape

    return made


@pytest.fixture
def made_lj4(made, lj4, tmp_path):
    """Such a landscape of LJ4, in ours.db."""
    with made(lj4, LJ, tmp_path / "ours.db") as landscape:
        yield landscape


@pytest.fixture
def dps(tmp_path) -> Path:
    """A PATHSAMPLE folder without coordinates, as another program would write it."""
    folder = tmp_path / "dps"
    folder.mkdir()
    (folder / "min.data").write_text(
        "      -3.0000000001        1.5    6       1.0  1.0   1.0\n-2.5D0,1.25,1,1.0,1.0,1.0\n\n"
    )
    (folder / "ts.data").write_text("-2.0 1.0 1 2 1 1.0 1.0 1.0\n-1.5 1.0 1 2 2 1.0 1.0 1.0\n")
    return folder


@pytest.fixture(scope="session")
def rows() -> Callable[[Landscape], list]:
    """All fields of minima and links, by id; positions as bytes."""

    def plain(row):
        values = {field.name: getattr(row, field.name) for field in fields(row)}
        x = values.pop("positions")
        return values, None if x is None else x.tobytes()

    def rows(landscape: Landscape) -> list:
        minima, links = landscape.contents()
        by_id = [sorted(found, key=lambda row: row.id) for found in (minima, links)]
        return [[plain(row) for row in found] for found in by_id]

    return rows


def lennard_jones(flat):
    """Energy and gradient of a cluster, in plain numpy."""
    x = flat.reshape(-1, 3)
    between = x[:, None] - x[None]
    squared = (between**2).sum(-1) + np.eye(len(x))
    sixth = (1 - np.eye(len(x))) / squared**3
    slope = (-24 * 2 * sixth**2 + 24 * sixth) / squared
    return 2 * (sixth**2 - sixth).sum(), (slope[..., None] * between).sum(1).ravel()


@pytest.fixture(scope="session")
def minima():
    """The minima of a cluster, from random starts; none of these has two of one energy."""
    known = {}

    def minima(name):
        if name not in known:
            rng, found = np.random.default_rng(0), {}
            for _ in range(60):
                start = rng.normal(size=3 * int(name[2:])) * 0.8
                end = minimize(lennard_jones, start, jac=True, options={"gtol": 1e-9})
                if np.abs(end.jac).max() < 1e-6:
                    found.setdefault(round(end.fun, 5), (end.fun, end.x.reshape(-1, 3)))
            expected = NETWORKS[name]["minima"]
            known[name] = [found[round(energy, 5)] for energy in sorted(found)][: len(expected)]
            np.testing.assert_allclose([e for e, _ in known[name]], expected, atol=1e-6)
        return known[name]

    return minima


@pytest.fixture(scope="session")
def potentials():
    return {
        name: LennardJones().bind(np.zeros(int(name[2:]), int)) for name in NETWORKS if "LJ" in name
    }


@pytest.fixture
def landscape(minima, potentials):
    """A landscape of the minima of a cluster, in a file or in memory; opened again if it exists."""

    def landscape(name, database=None):
        made = Landscape.create(Molecule.from_text(name), potentials[name].provenance(), database)
        if not len(made):
            for energy, x in minima(name):
                made.add_minimum(energy, x)
        return made

    return landscape
