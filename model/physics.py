"""What SO3LR adds to the network: repulsion, electrostatics and dispersion.

Each is a smooth function of distances and of what the network says about the atoms (charges,
Hirshfeld ratios). Sources: Ziegler, Biersack and Littmark (1985) for the repulsion; Unke et al.,
Nat. Commun. 12, 7273 (2021) for the charges; Khabibrakhmanov, Fedorov and Tkatchenko, JCTC 19,
7895 (2023) for the dispersion of quantum Drude oscillators; Kabylda, Frank et al. (2025) for the
choice of their cutoffs.
"""

from math import pi, sqrt
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.lax import Precision
from jax.scipy.special import erf

from topokrates.model import elements
from topokrates.model.layout import Pairs
from topokrates.model.linear import One
from topokrates.model.radial import switch_off

COULOMB = 14.399645351950548  # e^2 / (4 pi epsilon_0), eV Å
BOHR = 0.5291772105638411  # Å
HARTREE = 27.211386245988  # eV
FINE_STRUCTURE = 0.0072973525693
ZBL_END = 1.5  # Å: learned repulsion is switched off from 0 to here
TABLE_ROWS = 119


class Energies(NamedTuple):
    """The energy of one structure and its parts; eV, e, and ratios without unit.

    Attributes:
        network, repulsion, electrostatics, dispersion: scalars.
        charges: (N,), or a scalar 0 where the model has none.
        hirshfeld_ratios: (N,), or a scalar 1 where the model has none.
    """

    network: Array
    repulsion: Array
    electrostatics: Array
    dispersion: Array
    charges: Array
    hirshfeld_ratios: Array

    @classmethod
    def of_network(cls, energy: Array) -> "Energies":
        """The energies of a network alone; what physics adds is put in with `_replace`."""
        zero = jnp.zeros_like(energy)
        return cls(energy, zero, zero, zero, zero, zero + 1)

    @property
    def total(self) -> Array:
        """Sum of the four parts, eV."""
        return self.network + self.repulsion + self.electrostatics + self.dispersion


class Repulsion(nn.Module):
    """Ziegler-Biersack-Littmark repulsion with learned coefficients."""

    @nn.compact
    def __call__(self, numbers: Array, pairs: Pairs, cut: Array) -> Array:
        def positive(name: str, values) -> Array:
            # softplus keeps what training finds positive; parameters hold its inverse
            values = jnp.asarray(values, jnp.float32)
            start = values + jnp.log(-jnp.expm1(-values))
            return nn.softplus(self.param(name, lambda _: start))

        decay = positive("a", [3.2, 0.9423, 0.4028, 0.2016])
        weight = positive("c", [0.1818, 0.5099, 0.2802, 0.02817])
        inverse_length = positive("d", 1 / (0.8854 * BOHR))
        power = positive("p", 0.23)
        weight = weight / jnp.sum(weight)

        z = numbers.astype(cut.dtype)
        # an element of 0 (padding) has no logarithm, hence no derivative of its power
        size = jnp.where(z > 0, jnp.maximum(z, 1) ** power, 0)
        (size_i, size_j), (z_i, z_j) = pairs.ends(size), pairs.ends(z)
        scaled = pairs.distances * (size_i + size_j) * inverse_length
        screening = jnp.sum(weight * jnp.exp(-decay * scaled[..., None]), axis=-1)
        bare = COULOMB * z_i * z_j / pairs.distances
        switch = switch_off(pairs.distances, 0.0, ZBL_END)
        return pairs.total(switch * cut * bare * screening)


class Charges(nn.Module):
    """Partial charges that sum to the total charge; (N,), e."""

    hidden: int

    @nn.compact
    def __call__(self, x: Array, numbers: Array, real: Array, total: Array) -> Array:
        bias = self.param("elements", nn.initializers.zeros, (TABLE_ROWS,))[numbers]
        hidden = nn.silu(nn.Dense(self.hidden, precision=Precision.HIGHEST, name="hidden")(x))
        raw = One(name="output")(hidden) + bias
        raw = jnp.where(real, raw, 0)
        missing = total.astype(raw.dtype) - jnp.sum(raw)
        return jnp.where(real, raw + missing / jnp.maximum(jnp.sum(real), 1), 0)


class HirshfeldRatios(nn.Module):
    """Effective over free atomic volumes, |v_Z + q_Z . k(x) / sqrt(width)|; (N,)."""

    hidden: int

    @nn.compact
    def __call__(self, x: Array, numbers: Array, real: Array) -> Array:
        width = x.shape[-1] // 2
        volume = self.param("elements", nn.initializers.ones, (TABLE_ROWS,))[numbers]
        query = self.param("queries", nn.initializers.normal(0.1), (TABLE_ROWS, width))[numbers]
        hidden = nn.Dense(self.hidden // 2, precision=Precision.HIGHEST, name="hidden")(x)
        key = nn.Dense(width, precision=Precision.HIGHEST, name="output")(nn.silu(hidden))
        ratio = jnp.abs(volume + jnp.sum(query * key, axis=-1) / sqrt(width))
        return jnp.where(real, ratio, 1)


def coulomb(charges: Array, pairs: Pairs, width: float, cutoff: float | None) -> Array:
    """Electrostatic energy of smeared charges, eV.

    k q_i q_j erf(r / width) / r over all pairs; with a cutoff, switched from 0.45 of it onwards
    to a form whose energy and force vanish there (shifted force).

    Args:
        charges: e, (N,).
        pairs: pairs within the cutoff.
        width: of the smearing, Å.
        cutoff: Å, or None.
    """
    r = pairs.distances
    potential = erf(r / width) / r
    if cutoff is not None:
        at_end = erf(jnp.asarray(cutoff / width, r.dtype)) / cutoff
        slope = 2 / (sqrt(pi) * width) * jnp.exp(-(jnp.asarray(cutoff / width, r.dtype) ** 2))
        slope = (slope - at_end) / cutoff
        switch = switch_off(r, 0.45 * cutoff, cutoff)
        potential = potential - at_end - (1 - switch) * slope * (r - cutoff)
    q_i, q_j = pairs.ends(charges)
    return COULOMB * pairs.total(q_i * q_j * potential)


def dispersion(
    numbers: Array,
    ratios: Array,
    pairs: Pairs,
    scale: float,
    cutoff: float | None,
    damping: float,
) -> Array:
    """van der Waals energy of quantum Drude oscillators, eV: C6, C8 and C10 terms, damped.

    Polarisabilities and C6 of free atoms (Tkatchenko and Scheffler, PRL 102, 073005 (2009)) are
    scaled by the Hirshfeld ratios; the oscillator's width follows from the van der Waals radius
    alpha^(1/7) of the pair (Fedorov et al., PRL 121, 183401 (2018)), and with it C8, C10 and the
    radius at which all three are damped.

    Args:
        numbers: atomic numbers, (N,).
        ratios: Hirshfeld ratios, (N,).
        pairs: pairs within the cutoff.
        scale: of the damping radius.
        cutoff: Å, or None.
        damping: Å before the cutoff over which the energy is switched off.
    """
    dtype = ratios.dtype
    polarisability = jnp.asarray(elements.POLARISABILITIES, dtype)[numbers] * ratios
    c6 = jnp.asarray(elements.C6_COEFFICIENTS, dtype)[numbers] * ratios**2
    (alpha_i, alpha_j), (c6_i, c6_j) = pairs.ends(polarisability), pairs.ends(c6)
    alpha = (alpha_i + alpha_j) / 2
    c6_pair = 2 * c6_i * c6_j * alpha_i * alpha_j / (alpha_i**2 * c6_j + alpha_j**2 * c6_i)

    seventh_root = alpha ** (1 / 7)
    radius = FINE_STRUCTURE ** (-4 / 21) * seventh_root
    width = -0.00433008 + radius * (0.24428889 + radius * (0.04125273 - 0.00078893 * radius))
    gamma = 1 / (2 * width**2)
    c8, c10 = 5 / gamma * c6_pair, 245 / 8 / gamma**2 * c6_pair
    r, damp = pairs.distances / BOHR, scale * 2 * 2.54 * seventh_root
    energy = -(c6_pair / (r**6 + damp**6) + c8 / (r**8 + damp**8) + c10 / (r**10 + damp**10))
    if cutoff is not None:
        energy = energy * switch_off(pairs.distances, cutoff - damping, cutoff)
    return HARTREE * pairs.total(energy)
