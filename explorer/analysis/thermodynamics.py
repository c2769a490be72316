"""Heat of a landscape: the harmonic superposition of its minima.

Each minimum is a harmonic well of its own, and the partition function of the landscape is the sum
over the wells (F. H. Stillinger and T. A. Weber, Phys. Rev. A 25, 978 (1982); D. J. Wales, Mol.
Phys. 78, 151 (1993)):

    Z_i = n_i exp(-E_i / kT) prod_k q(nu_ik) [q_rot,i]
    q(nu) = kT / (h nu)                                     classical
    q(nu) = exp(-h nu / 2kT) / (1 - exp(-h nu / kT))        quantum, the zero point counted

n_i is how many copies with exchanged labels a minimum stands for, without the factor that all share
(`copies`): 1 over its rotational symmetry number, and twice that where it also stands for its
mirror image. Transition states are treated alike, without the mode that is imaginary.

The energy counts kinetic and potential part alike, so one classical well has a heat capacity of
K k_B, K being the number of vibrations. With `rotation` the body turns freely, a classical rigid
rotor with the moments of inertia of the minimum: 3/2 k_B more. (Its symmetry number is in n_i
already.) It is left out by default, as harmonic superpositions in the literature do; the orders of
conformers by free energy then differ from the RRHO of quantum chemistry by kT/2 times the logarithm
of the ratio of I_1 I_2 I_3. Translation, the same for all, is never counted.

All sums are taken of logarithms, so no temperature is too low.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from topokrates.analysis.point_group import PointGroup
from topokrates.analysis.vibrations import Scale, Vibrations
from topokrates.model.errors import InputError


class States(NamedTuple):
    """Stationary points as wells: what their partition functions are made of.

    Attributes:
        energies: (M,).
        frequencies: (M, K) real frequencies; NaN pads where one has fewer.
        copies: (M,) how many labelled copies each stands for, up to a common factor.
        moments: (M, 3) of inertia, ascending; a line has a 0. None where rotation is not asked for.
        scale: units, from `topokrates.analysis.vibrations.scale`.
    """

    energies: np.ndarray
    frequencies: np.ndarray
    copies: np.ndarray
    moments: np.ndarray | None
    scale: Scale


class Thermodynamics(NamedTuple):
    """Of the whole landscape at temperatures (T,).

    Attributes:
        temperatures: (T,), in the scale's unit.
        free_energy: -kT ln Z, absolute, energy unit.
        internal_energy: absolute, energy unit.
        heat_capacity: in k_B.
        entropy: in k_B; only differences mean something (common factors of n are left out).
    """

    temperatures: np.ndarray
    free_energy: np.ndarray
    internal_energy: np.ndarray
    heat_capacity: np.ndarray
    entropy: np.ndarray


def copies(groups: Iterable[PointGroup], doubled: Iterable[bool]) -> np.ndarray:
    """n of each structure, (M,), without the factor that all share.

    Args:
        groups: the point groups.
        doubled: whether a chiral structure stands for its mirror image, too: all of a cluster's
            do, and none of a molecule whose images are minima of their own, or another molecule.
            Nothing is doubled that is its own mirror image.
    """
    pairs = zip(groups, doubled, strict=True)
    return np.array([(1 + (twice and g.chiral)) / g.number for g, twice in pairs], dtype=float)


def states(
    energies: Sequence[float] | np.ndarray,
    wells: Sequence[Vibrations],
    copies: np.ndarray,
    scale: Scale,
    *,
    transition: bool = False,
) -> States:
    """Wells from vibrations.

    Args:
        energies: (M,) absolute.
        wells: M of them.
        copies: (M,), from `copies`.
        scale: from `topokrates.analysis.vibrations.scale`.
        transition: one mode of each is imaginary, and left out.

    Raises:
        InputError: if one has another number of imaginary modes, or a frequency of 0.
    """
    width = max((len(w.frequencies) - transition for w in wells), default=0)
    padded = np.full((len(wells), width), np.nan)
    for number, well in enumerate(wells):
        if well.imaginary != int(transition) or np.any(well.frequencies == 0):
            kind = "transition state" if transition else "minimum"
            raise InputError(
                f"structure {number} has {well.imaginary} imaginary frequencies and is no {kind}"
            )
        real = well.frequencies[int(transition) :]
        padded[number, : len(real)] = real
    moments = np.array([w.moments for w in wells], dtype=float).reshape(-1, 3)
    return States(np.asarray(energies, float), padded, np.asarray(copies, float), moments, scale)


class Wells(NamedTuple):
    """Of each well at one temperature: ln Z, energy over kT, and heat capacity over k_B; (M,)."""

    log_z: np.ndarray
    energy: np.ndarray
    heat: np.ndarray


def wells(
    states: States,
    temperature: float,
    *,
    quantum: bool = False,
    rotation: bool = False,
    zero: float = 0.0,
) -> Wells:
    """The partition function of each well and its derivatives, all as pure numbers.

    Energies are counted from `zero`: total energies are large, and digits would be lost.

    Raises InputError for a temperature that is not above 0, for quantum vibrations in reduced
    units, which have no Planck constant, and for rotation without moments of inertia.
    """
    thermal = states.scale.thermal(temperature)
    if quantum and states.scale.reduced:
        raise InputError("reduced units have no Planck constant: vibrations must be classical")
    x = states.scale.planck * states.frequencies / thermal
    if quantum:
        log_q = -x / 2 - np.log(-np.expm1(-x))
        # with exp(-x) throughout, nothing overflows at low temperature
        occupation = np.exp(-x) / -np.expm1(-x)
        energy = x * (0.5 + occupation)
        heat = x**2 * np.exp(-x) / np.expm1(-x) ** 2
    else:
        log_q = -np.log(x)
        energy = heat = np.where(np.isnan(x), np.nan, 1.0)
    bottom = (states.energies - zero) / thermal
    log_z = np.log(states.copies) - bottom + np.nansum(log_q, axis=1)
    energy = bottom + np.nansum(energy, axis=1)
    heat = np.nansum(heat, axis=1)
    if rotation:
        if states.moments is None:
            raise InputError("rotation needs the moments of inertia of every structure")
        turns = np.sum(states.moments > 0, axis=1)
        with np.errstate(divide="ignore"):
            each = np.log(thermal * states.moments / states.scale.inertia) / 2
        # a line turns about two axes: q = 2 I kT / hbar^2; other bodies have sqrt(pi) on top
        log_z = log_z + np.where(states.moments > 0, each, 0).sum(axis=1)
        log_z = log_z + np.where(turns == 3, np.log(np.pi) / 2, 0)
        energy, heat = energy + turns / 2, heat + turns / 2
    return Wells(log_z, energy, heat)


def free_energies(
    states: States, temperature: float, *, quantum: bool = False, rotation: bool = False
) -> np.ndarray:
    """F_i = -kT ln Z_i of each well, (M,), absolute, in the unit of the energies."""
    if not len(states.energies):
        return np.zeros(0)
    zero = float(states.energies.min())
    found = wells(states, temperature, quantum=quantum, rotation=rotation, zero=zero)
    return zero - states.scale.thermal(temperature) * found.log_z


def occupations(
    states: States, temperature: float, *, quantum: bool = False, rotation: bool = False
) -> np.ndarray:
    """Equilibrium probability of each minimum, (M,); they sum to 1."""
    from scipy.special import softmax

    zero = float(np.min(states.energies, initial=np.inf))
    found = wells(states, temperature, quantum=quantum, rotation=rotation, zero=zero)
    return softmax(found.log_z) if len(found.log_z) else np.zeros(0)


def thermodynamics(
    states: States,
    temperatures: Iterable[float] | np.ndarray,
    *,
    quantum: bool = False,
    rotation: bool = False,
) -> Thermodynamics:
    """Free energy, internal energy, heat capacity and entropy of the landscape.

    The heat capacity is the exact derivative of the internal energy: the mean of those of the
    wells, and the variance of their energies over (kT)^2.

    Raises:
        InputError: as `wells`; for a landscape without minima.
    """
    from scipy.special import logsumexp, softmax

    if not len(states.energies):
        raise InputError("there are no minima, so there is nothing to sum over")
    temperatures = np.atleast_1d(np.asarray(temperatures, dtype=float))
    free, inner, capacity = (np.empty(len(temperatures)) for _ in range(3))
    zero = float(states.energies.min())
    for k, temperature in enumerate(temperatures):
        found = wells(states, temperature, quantum=quantum, rotation=rotation, zero=zero)
        share = softmax(found.log_z)
        mean = share @ found.energy
        free[k] = -logsumexp(found.log_z)
        inner[k] = mean
        capacity[k] = share @ found.heat + share @ (found.energy - mean) ** 2
    thermal = states.scale.boltzmann * temperatures
    entropy = inner - free
    return Thermodynamics(
        temperatures, zero + free * thermal, zero + inner * thermal, capacity, entropy
    )
