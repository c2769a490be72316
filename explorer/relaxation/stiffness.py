"""Model Hessians: how stiff a molecule's coordinates are before anything has been computed.

A minimiser that begins with a good guess of the Hessian needs few gradients. The numbers for
molecules are fitted to the exact SO3LR Hessians at minima of three peptides (Ac-Ala-NHMe,
Ac-Ala3-NHMe, Ac-Phe-Ser-NHMe): non-negative least squares of B' D B against the Hessian, both in
the metric of B' D B, so that soft motions count as much as stiff ones. What a bond is made of is
told by its length and by how many neighbours its atoms have (after Lindh et al., Chem. Phys. Lett.
241, 423 (1995), and Badger's rule), so that no table of elements is needed.

Clusters have no bonds; springs between all pairs, weaker with distance, take their place (Packwood
et al., J. Chem. Phys. 144, 164109 (2016)).
"""

import jax.numpy as jnp
import numpy as np
from jax import Array

HYDROGEN_BOND = 1.15  # Å: a shorter bond, to an atom with no other, is one to hydrogen
DOUBLE_BOND = 1.45  # Å: a shorter one between planar atoms resists being turned
# eV/Å^2 at a length in Å, and the rate at which it falls with the length, 1/Å
TO_HYDROGEN, TO_OTHERS = (33.0, 1.09, 4.0), (26.6, 1.53, 3.4)
ANGLES = (7.0, 3.9, 3.2)  # eV/rad^2, with no, one and two hydrogens at its ends
TURNED, TURNED_DOUBLE, IMPROPER = 0.1, 0.4, 1.6  # eV/rad^2

# Springs between pairs, epsilon/sigma^2, at the distance of contact, sigma.
SPRING, CONTACT = 50.0, 1.12
SPRING_DECAY, SPRING_REACH, CLOSEST = 5.0, 2.5, 0.9
SIDEWAYS = 0.03  # of a spring's stiffness, across it
LOOSE = 4.0  # holds what no spring holds


def stiffness(
    bonds: np.ndarray,
    angles: np.ndarray,
    torsions: np.ndarray,
    impropers: np.ndarray,
    lengths: np.ndarray,
) -> np.ndarray:
    """Diagonal of a molecule's Hessian in its internal coordinates.

    Args:
        bonds, angles, torsions, impropers: atoms of each, (b, 2), (a, 3), (t, 4), (i, 4).
        lengths: of the bonds, (b,), Å.

    Returns:
        (b + a + t + i,), eV/Å^2 and eV/rad^2.
    """
    if not len(bonds):
        return np.zeros(0)
    neighbours = np.bincount(bonds.ravel())
    ends = neighbours[bonds]
    hydrogen = (ends == 1).any(axis=1) & (lengths < HYDROGEN_BOND)
    stretch = np.where(hydrogen, _falling(lengths, *TO_HYDROGEN), _falling(lengths, *TO_OTHERS))
    is_hydrogen = np.zeros(len(neighbours), bool)
    is_hydrogen[bonds[hydrogen].ravel()] = True
    is_hydrogen &= neighbours == 1
    bend = np.take(ANGLES, is_hydrogen[angles[:, [0, 2]]].sum(axis=1))
    double = (ends.max(axis=1) <= 3) & (lengths < DOUBLE_BOND)
    doubles = {frozenset(bond) for bond in bonds[double].tolist()}
    turn = [
        TURNED_DOUBLE if frozenset(torsion[1:3]) in doubles else TURNED
        for torsion in torsions.tolist()
    ]
    return np.concatenate([stretch, bend, turn, np.full(len(impropers), IMPROPER)])


def _falling(length: np.ndarray, at: float, usual: float, rate: float) -> np.ndarray:
    return at * np.exp(-rate * (length - usual))


def pair_springs(x: Array) -> Array:
    """Model Hessian of a cluster: springs between all pairs that are near each other.

    Args:
        x: (N, 3), in units of sigma.

    Returns:
        (3N, 3N), positive definite.
    """
    atoms = len(x)
    itself = jnp.eye(atoms, dtype=bool)
    apart = x[:, None] - x[None]
    distance = jnp.sqrt(jnp.where(itself, 1, jnp.sum(apart**2, axis=-1)))
    along = apart / distance[..., None]
    near = ~itself & (distance < SPRING_REACH)
    decay = jnp.exp(-SPRING_DECAY * (jnp.maximum(distance, CLOSEST) / CONTACT - 1))
    strength = SPRING * jnp.where(near, decay, 0)
    axes = jnp.eye(3, dtype=x.dtype)
    blocks = along[..., :, None] * along[..., None, :] + SIDEWAYS * axes
    blocks = strength[..., None, None] * blocks
    own = jnp.sum(blocks, axis=1)
    blocks = jnp.where(itself[..., None, None], own[:, None], -blocks)
    full = blocks.transpose(0, 2, 1, 3).reshape(3 * atoms, 3 * atoms)
    return full + LOOSE * jnp.eye(3 * atoms, dtype=x.dtype)
