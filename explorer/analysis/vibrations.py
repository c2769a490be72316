"""Harmonic frequencies of a stationary point, and the units that heat and rates are counted in.

The Hessian is weighted with the masses of the atoms and its rigid motions are projected out, so
that what is left are vibrations only: 3N - 6 of a minimum, 3N - 5 of one whose atoms lie on a line.
A transition state has one of them imaginary, which is written as a negative number here.

Frequencies of molecules are wavenumbers in cm^-1. Particles without an element have mass 1 and
reduced units: frequencies are omega / 2 pi in sqrt(epsilon/m)/sigma, k_B is 1 and temperatures are
in epsilon/k_B. Planck's constant has no value in these units; hbar = 1 is taken, which cancels from
whatever is compared between classical states with equally many vibrations, and from classical
rates.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from topokrates.model.errors import InputError

#: Atoms lie on a line if the smallest moment of inertia is below the square of this, times the
#: largest. Geometries are good to 1e-4 Å or better across a stiff line, and bends are wider.
LINE = 1e-3


class Scale(NamedTuple):
    """Constants in the units of a landscape.

    Attributes:
        energy: name of the unit of energy that goes in: "eV" or "epsilon".
        temperature: name of that of temperatures: "K" or "epsilon/k_B".
        frequency: name of that of frequencies.
        time: name of that of times.
        boltzmann: k_B in energy per temperature.
        planck: h times the unit of frequency, in energy.
        per_time: the unit of frequency in 1/time.
        angular: omega / 2 pi in the unit of frequency for a mass-weighted eigenvalue of 1.
        inertia: hbar^2 / 2 over a moment of inertia of 1, in energy.
    """

    energy: str
    temperature: str
    frequency: str
    time: str
    boltzmann: float
    planck: float
    per_time: float
    angular: float
    inertia: float

    @property
    def reduced(self) -> bool:
        """Whether these are the units of particles without an element."""
        return self.energy != "eV"

    def thermal(self, temperature: float) -> float:
        """k_B T in the unit of energy. Raises InputError unless T is positive and finite."""
        if not (np.isfinite(temperature) and temperature > 0):
            raise InputError(f"temperature {temperature} {self.temperature}: must be above 0")
        return self.boltzmann * float(temperature)


@cache
def scale(energy_unit: str) -> Scale:
    """The constants (CODATA, as in scipy) of "eV" (Å, u, K, s) or of "epsilon" (reduced units).

    Raises InputError for any other unit.
    """
    if energy_unit == "epsilon":
        turn = 2 * np.pi
        return Scale(
            "epsilon",
            "epsilon/k_B",
            "sqrt(epsilon/m)/sigma",
            "sigma sqrt(m/epsilon)",
            1.0,
            turn,
            1.0,
            1 / turn,
            0.5,
        )
    if energy_unit != "eV":
        raise InputError(f"energies in {energy_unit}: vibrations are known for eV and epsilon")
    from scipy import constants

    electronvolt, unit_mass = constants.e, constants.atomic_mass
    per_centimetre = 100 * constants.c  # 1/s
    second = np.sqrt(electronvolt / unit_mass) / constants.angstrom  # rad/s
    moment = unit_mass * constants.angstrom**2
    return Scale(
        "eV",
        "K",
        "cm^-1",
        "s",
        constants.k / electronvolt,
        constants.h * per_centimetre / electronvolt,
        per_centimetre,
        float(second / (2 * np.pi * per_centimetre)),
        constants.hbar**2 / (2 * moment * electronvolt),
    )


def masses(numbers: np.ndarray) -> np.ndarray:
    """Standard atomic weights (N,) in u; 1 for particles, whose number is 0."""
    from ase.data import atomic_masses

    numbers = np.asarray(numbers, dtype=int)
    return np.where(numbers == 0, 1.0, atomic_masses[numbers])


def moments_of_inertia(positions: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """The three principal moments, ascending, mass times length squared; 0 first on a line.

    positions (N, 3), mass (N,).
    """
    x = positions - mass @ positions / mass.sum()
    second = np.einsum("a,ai,aj->ij", mass, x, x)
    moments = np.linalg.eigvalsh(np.trace(second) * np.eye(3) - second)
    moments = np.where(moments > LINE**2 * moments[2], moments, 0.0)
    return moments


def rigid_motions(positions: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Orthonormal translations and rotations in mass-weighted coordinates.

    positions (N, 3), mass (N,) -> (3N, 6), or (3N, 5) if the atoms lie on a line.
    """
    centred = positions - mass @ positions / mass.sum()
    axes = np.eye(3)
    weight = np.repeat(np.sqrt(mass), 3)[:, None]
    translations = weight * np.tile(axes, (len(centred), 1))
    turns = np.stack([np.cross(axis, centred).ravel() for axis in axes], axis=1)
    left, size, _ = np.linalg.svd(weight * turns, full_matrices=False)
    rotations = left[:, size > LINE * max(size[0], 1e-12)]
    return np.linalg.qr(np.hstack([translations, rotations]))[0]


class Vibrations(NamedTuple):
    """Frequencies (K,) ascending, imaginary ones negative; moments of inertia (3,) ascending."""

    frequencies: np.ndarray
    moments: np.ndarray

    @property
    def imaginary(self) -> int:
        """How many frequencies are imaginary."""
        return int(np.sum(self.frequencies < 0))


def vibrations(
    hessian: np.ndarray, positions: np.ndarray, numbers: np.ndarray, energy_unit: str = "eV"
) -> Vibrations:
    """Harmonic frequencies from a float64 Hessian.

    Args:
        hessian: (3N, 3N), eV/Å^2 or epsilon/sigma^2.
        positions: (N, 3) where it was made, Å or sigma.
        numbers: (N,) atomic numbers, 0 for particles of mass 1.
        energy_unit: "eV" or "epsilon".

    Returns:
        3N - 6 frequencies (3N - 5 on a line), cm^-1 or sqrt(epsilon/m)/sigma, and moments of
        inertia in u Å^2 or m sigma^2.

    Raises:
        InputError: for what is not finite, of the wrong shape or in another unit.
    """
    hessian, x = np.asarray(hessian, dtype=float), np.asarray(positions, dtype=float)
    if x.shape != (len(numbers), 3) or hessian.shape != (x.size, x.size):
        raise InputError(f"a Hessian of {hessian.shape} for {len(numbers)} atoms")
    if not (np.isfinite(hessian).all() and np.isfinite(x).all()):
        raise InputError("Hessian and positions must be finite: there are no frequencies else")
    mass = masses(numbers)
    rigid = rigid_motions(x, mass)
    complement = np.linalg.svd(rigid, full_matrices=True)[0][:, rigid.shape[1] :]
    weight = np.repeat(1 / np.sqrt(mass), 3)
    weighted = weight[:, None] * (hessian + hessian.T) / 2 * weight
    values = np.linalg.eigvalsh(complement.T @ weighted @ complement)
    size = np.sqrt(np.abs(values)) * scale(energy_unit).angular
    return Vibrations(np.where(values < 0, -size, size), moments_of_inertia(x, mass))
