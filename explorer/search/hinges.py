"""Parts of a molecule that can swing about an axis through two of its atoms.

Where two atoms, the pivots, cut a piece out of the bond graph, that piece can turn about the line
between them and no bond changes its length, nor does anything else move; only the bond angles at
the pivots do. Of a backbone that is the concerted crankshaft: one peptide group or a few residues
swing while both ends of the chain stay. Of a ring it is a pucker: one atom, with what hangs on it,
folds over to the other side. A rotation keeps every handedness, which a reflection would not.
"""

from functools import lru_cache
from typing import NamedTuple

import networkx as nx
import numpy as np

from topokrates.molecule import Molecule

LONGEST_SEGMENT = 4  # peptide groups that swing together
RINGS = range(4, 9)  # atoms of a ring that is puckered; larger ones turn like chains
SINGLE = 4  # neighbours of an atom without double bonds
STRAIN = np.radians(40)  # bond angles at the pivots may change by so much


class Hinge(NamedTuple):
    """A piece that swings.

    Attributes:
        pivots: the two atoms of the axis.
        moving: the atoms of the piece.
        ring: of a pucker the folding atom and the other atoms of its ring; () of a crankshaft.
    """

    pivots: tuple[int, int]
    moving: tuple[int, ...]
    ring: tuple[int, ...] = ()


@lru_cache(maxsize=64)
def crankshafts(molecule: Molecule) -> tuple[Hinge, ...]:
    """Segments of the backbone between two alpha carbons (or carbons of caps), shortest first."""
    pivots = {bond.atoms[k] for bond in molecule.peptide_bonds for k in (0, 3)}
    pivots |= {phi[2] for phi, _ in molecule.phi_psi if phi is not None}
    pivots |= {psi[1] for _, psi in molecule.phi_psi if psi is not None}
    graph = _graph(molecule)
    found = []
    for a in sorted(pivots):
        for b in sorted(pivots):
            if a < b and nx.has_path(graph, a, b):
                length = nx.shortest_path_length(graph, a, b)
                # three bonds from one alpha carbon to the next
                if length <= 3 * LONGEST_SEGMENT and (moving := _between(graph, a, b)):
                    found.append((length, Hinge((a, b), moving)))
    return tuple(hinge for _, hinge in sorted(found))


@lru_cache(maxsize=64)
def puckers(molecule: Molecule) -> tuple[Hinge, ...]:
    """Ring atoms with four neighbours that fold between their neighbours in the ring."""
    graph = _graph(molecule)
    found = []
    for cycle in nx.minimum_cycle_basis(graph):
        ring = set(cycle)
        if len(ring) not in RINGS:
            continue
        for atom in sorted(ring):
            a, b = sorted(ring & set(graph[atom]))[:2]
            moving = _piece(graph, a, b, atom)
            # a second ring that shares the atom would tear the first one, and a fold that swings
            # most of the molecule is none
            torn = set(moving) & ring - {atom}
            if graph.degree[atom] == SINGLE and not torn and 2 * len(moving) <= molecule.n_atoms:
                found.append(Hinge((a, b), moving, (atom, *sorted(ring - {atom, a, b}))))
    return tuple(sorted(found))


def swung(positions: np.ndarray, hinge: Hinge, angle: float) -> np.ndarray:
    """A copy of positions (N, 3) in which the piece has turned by an angle, radians."""
    from scipy.spatial.transform import Rotation

    x = np.array(positions, float)
    a, b = x[list(hinge.pivots)]
    turn = Rotation.from_rotvec(angle * (b - a) / np.linalg.norm(b - a))
    moving = list(hinge.moving)
    x[moving] = a + turn.apply(x[moving] - a)
    return x


def crankshaft_angle(
    molecule: Molecule, positions: np.ndarray, hinge: Hinge, size: float, rng: np.random.Generator
) -> float:
    """A random angle within +-size that strains the bond angles at the pivots little."""
    angles = rng.uniform(-size, size, 24) * np.linspace(1, 0.1, 24)
    arms, angle = _arms(molecule, hinge), 0.0
    before = _bond_angles(positions, arms)
    for angle in angles:
        if np.abs(_bond_angles(swung(positions, hinge, angle), arms) - before).max() < STRAIN:
            break
    return float(angle)


def fold(positions: np.ndarray, hinge: Hinge) -> float:
    """How far a pucker's atom stands out of the plane of its ring, radians.

    Turning by minus twice the fold puts the atom on the other side.
    """
    a, b = (positions[k] for k in hinge.pivots)
    axis = (b - a) / np.linalg.norm(b - a)
    flap = positions[hinge.ring[0]] - a
    rest = positions[list(hinge.ring[1:])].mean(axis=0) - a
    flap, rest = flap - (flap @ axis) * axis, rest - (rest @ axis) * axis
    return float(np.arctan2(np.cross(-rest, flap) @ axis, -rest @ flap))


def _graph(molecule: Molecule) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(molecule.n_atoms))
    graph.add_edges_from((int(i), int(j)) for i, j in molecule.bonds)
    return graph


def _piece(graph: nx.Graph, a: int, b: int, inside: int) -> tuple[int, ...]:
    """What hangs together with an atom once a and b are taken away."""
    rest = nx.restricted_view(graph, [a, b], [])
    return tuple(sorted(nx.node_connected_component(rest, inside)))


def _between(graph: nx.Graph, a: int, b: int) -> tuple[int, ...]:
    """The piece that hangs on both a and b, if there is exactly one."""
    starts = [n for n in graph[a] if n != b]
    pieces = {_piece(graph, a, b, n) for n in starts}
    joined = [piece for piece in pieces if set(piece) & set(graph[b])]
    return joined[0] if len(joined) == 1 and not graph.has_edge(a, b) else ()


@lru_cache(maxsize=4096)
def _arms(molecule: Molecule, hinge: Hinge) -> np.ndarray:
    """Bond angles that a swing changes, (K, 3): moving atom, pivot, resting atom."""
    graph, moving = _graph(molecule), set(hinge.moving)
    rows = [
        (inside, pivot, outside)
        for pivot in hinge.pivots
        for inside in sorted(set(graph[pivot]) & moving)
        for outside in sorted(set(graph[pivot]) - moving)
    ]
    return np.array(rows, int).reshape(-1, 3)


def _bond_angles(x: np.ndarray, triples: np.ndarray) -> np.ndarray:
    one, two = (x[triples[:, k]] - x[triples[:, 1]] for k in (0, 2))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return np.arccos(np.clip(np.sum(one * two, axis=1) / lengths, -1, 1))
