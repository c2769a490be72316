"""Order parameters: one number per structure that a person can read, with its unit.

They order, place and colour the branches of a disconnectivity graph. A molecule has

- `phi`, `psi`: backbone dihedrals in degrees (`phi1`, `psi1`, `phi2`, ... from the N terminus where
  there are several residues).
- `radius-of-gyration`: sqrt(sum_i m_i |r_i - r_com|^2 / sum_i m_i), Å.
- `hydrogen-bonds`: how many hydrogens on N or O have an acceptor, N or O, closer than 2.5 Å and at
  an angle D-H...A above 120 degrees (E. N. Baker and R. E. Hubbard, Prog. Biophys. Mol. Biol. 44,
  97 (1984)). A hydrogen between two acceptors counts once.
- `end-to-end`: of a peptide, the distance from the first atom of its first phi (else its N) to the
  last atom of its last psi (else its C), Å: C of one cap to N of the other in Ac-...-NHMe. Of
  another molecule, the distance of the two heavy atoms that are most bonds apart.

A cluster of particles has, with the neighbours that are closer than 1.391 sigma,

- `radius-of-gyration`, sigma, all particles of one mass.
- `neighbours`: the number of pairs of nearest neighbours.
- `q4`, `q6`: bond-orientational order Q_l over all such pairs (P. J. Steinhardt, D. R. Nelson and
  M. Ronchetti, Phys. Rev. B 28, 784 (1983)); q4 tells fcc from icosahedral. By the addition theorem
  Q_l^2 is the mean of P_l(cos angle) over all pairs of bonds, so no harmonics are needed.

Everything has `energy` (relative) and `visits`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from topokrates.model.errors import InputError
from topokrates.molecule import Molecule, dihedral

if TYPE_CHECKING:
    from topokrates.landscape import Landscape

HYDROGEN_BOND = 2.5, 120.0  # largest H...A, Å, and smallest D-H...A, degrees
NEIGHBOUR = 1.391  # sigma
PLAIN = ("energy", "visits")  # not of the structure
Measure = Callable[[np.ndarray], float]


class Observable(NamedTuple):
    """A value of every minimum; None where one has no positions or no such angle.

    `period` is 360 for an angle in degrees; `whole` says that the values are counts.
    """

    name: str
    label: str
    unit: str
    values: Mapping[int, float | None]
    period: float | None = None
    whole: bool = False

    @property
    def title(self) -> str:
        """With its unit, as an axis shows it."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def names(molecule: Molecule) -> list[str]:
    """The observables that this molecule has."""
    return [*_measures(molecule), *PLAIN]


def observe(landscape: Landscape, name: str) -> Observable:
    """An observable of every minimum of a landscape.

    Raises InputError for a name that this molecule does not have.
    """
    (found,) = observe_all(landscape, [name])
    return found


def observe_all(landscape: Landscape, wanted: Iterable[str] | None = None) -> list[Observable]:
    """Several observables, by default all: see `observe`."""
    measures = _measures(landscape.molecule)
    minima = landscape.minimum_list
    found = []
    for name in wanted if wanted is not None else (*measures, *PLAIN):
        if name == "energy":
            energies = {m.id: (m.energy - minima[0].energy) * landscape.factor for m in minima}
            found.append(Observable(name, "Energy", landscape.relative_unit, energies))
        elif name == "visits":
            visits = {m.id: float(m.visits) for m in minima}
            found.append(Observable(name, "Visits", "", visits, whole=True))
        elif name in measures:
            measure = measures[name]
            values = {
                m.id: None if m.positions is None else _number(measure.of(m.positions))
                for m in minima
            }
            found.append(
                Observable(name, measure.label, measure.unit, values, measure.period, measure.whole)
            )
        else:
            choices = ", ".join((*measures, *PLAIN))
            raise InputError(
                f"{landscape.molecule.name} has no value {name!r}: choose one of {choices}"
            )
    return found


def unwrapped(values: Mapping[int, float | None], period: float) -> dict[int, float | None]:
    """Angles in one piece: cut where the widest gap between them is, so that none are torn apart.

    Values from the cut upwards by at most one period; the smallest of them stays within it.
    """
    known = np.unique([v % period for v in values.values() if v is not None])
    if len(known) == 0:
        return dict(values)
    gaps = np.diff(np.append(known, known[0] + period))
    start = known[(int(np.argmax(gaps)) + 1) % len(known)]
    if start > period / 2:
        start -= period
    return {
        name: None if v is None else float(start + (v - start) % period)
        for name, v in values.items()
    }


def radius_of_gyration(positions: np.ndarray, masses: np.ndarray) -> float:
    """Of positions (N, 3) about their centre of mass, in their unit."""
    weights = masses / masses.sum()
    centred = positions - weights @ positions
    return float(np.sqrt(weights @ (centred**2).sum(1)))


def hydrogen_bonds(molecule: Molecule, positions: np.ndarray) -> list[tuple[int, int, int]]:
    """Hydrogen bonds of positions (N, 3): (donor, hydrogen, acceptor), one per hydrogen."""
    longest, straightest = HYDROGEN_BOND
    polar = np.isin(molecule.numbers, (7, 8))
    acceptors = np.flatnonzero(polar)
    found = []
    for a, b in molecule.bonds.tolist():
        donor, hydrogen = (a, b) if molecule.numbers[b] == 1 else (b, a)
        if molecule.numbers[hydrogen] != 1 or not polar[donor]:
            continue
        back = positions[donor] - positions[hydrogen]
        to = positions[acceptors] - positions[hydrogen]
        far = np.linalg.norm(to, axis=1)
        cosine = (to @ back) / (far * np.linalg.norm(back))
        fits = (far < longest) & (cosine < np.cos(np.radians(straightest)))
        if fits.any():
            best = acceptors[np.argmin(np.where(fits, far, np.inf))]
            found.append((donor, hydrogen, int(best)))
    return found


def bond_order(positions: np.ndarray, degree: int, cutoff: float = NEIGHBOUR) -> float:
    """Q_l of all pairs of positions (N, 3) closer than `cutoff`; NaN where there is none."""
    first, second = _neighbours(positions, cutoff)
    if len(first) == 0:
        return float("nan")
    bonds = positions[second] - positions[first]
    bonds /= np.linalg.norm(bonds, axis=1, keepdims=True)
    legendre = np.polynomial.legendre.Legendre.basis(degree)
    return float(np.sqrt(max(legendre(np.clip(bonds @ bonds.T, -1, 1)).mean(), 0.0)))


class _Measured(NamedTuple):
    of: Measure
    label: str
    unit: str
    period: float | None = None
    whole: bool = False


def _measures(molecule: Molecule) -> dict[str, _Measured]:
    measures: dict[str, _Measured] = {}
    if molecule.is_cluster:
        equal = np.ones(molecule.n_atoms)
        measures["radius-of-gyration"] = _Measured(
            lambda x: radius_of_gyration(x, equal), "Radius of gyration", "sigma"
        )
        measures["neighbours"] = _Measured(
            lambda x: float(len(_neighbours(x)[0])), "Nearest-neighbour pairs", "", whole=True
        )
        measures["q4"] = _Measured(lambda x: bond_order(x, 4), "Q4", "")
        measures["q6"] = _Measured(lambda x: bond_order(x, 6), "Q6", "")
        return measures
    for kind, (symbol, column) in {"phi": ("φ", 0), "psi": ("ψ", 1)}.items():
        for residue, pair in enumerate(molecule.phi_psi, 1):
            several = len(molecule.phi_psi) > 1
            if pair[column] is not None:
                label = f"{symbol} of residue {residue}" if several else symbol
                name = f"{kind}{residue}" if several else kind
                measures[name] = _Measured(_angle(pair[column]), label, "°", 360.0)
    from ase.data import atomic_masses

    masses = atomic_masses[molecule.numbers]
    measures["radius-of-gyration"] = _Measured(
        lambda x: radius_of_gyration(x, masses), "Radius of gyration", "Å"
    )
    measures["hydrogen-bonds"] = _Measured(
        lambda x: float(len(hydrogen_bonds(molecule, x))), "Hydrogen bonds", "", whole=True
    )
    if (ends := chain_ends(molecule)) is not None:
        a, b = ends
        measures["end-to-end"] = _Measured(
            lambda x: float(np.linalg.norm(x[a] - x[b])), "End-to-end distance", "Å"
        )
    return measures


def chain_ends(molecule: Molecule) -> tuple[int, int] | None:
    """The two atoms whose distance is the end-to-end distance; None if there are no two."""
    if molecule.phi_psi:
        (first_phi, first_psi), (last_phi, last_psi) = molecule.phi_psi[0], molecule.phi_psi[-1]
        start = first_phi[0] if first_phi else first_psi[0] if first_psi else None
        end = last_psi[3] if last_psi else last_phi[3] if last_phi else None
        return None if start is None or end is None else (start, end)
    import networkx as nx

    heavy = np.flatnonzero(molecule.numbers > 1).tolist()
    graph = nx.Graph()
    graph.add_nodes_from(heavy)
    graph.add_edges_from(pair for pair in molecule.bonds.tolist() if set(pair) <= set(heavy))
    far = [
        (-steps, a, b)
        for a, lengths in nx.all_pairs_shortest_path_length(graph)
        for b, steps in lengths.items()
        if a < b
    ]
    return min(far)[1:] if far else None


def _angle(quad: tuple[int, int, int, int] | None) -> Measure:
    return lambda x: float(np.degrees(dihedral(x, quad)))


def _neighbours(positions: np.ndarray, cutoff: float = NEIGHBOUR) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.triu_indices(len(positions), 1)
    near = np.linalg.norm(positions[first] - positions[second], axis=1) < cutoff
    return first[near], second[near]


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
