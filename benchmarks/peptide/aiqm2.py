"""AIQM2 as an ASE calculator, to label training data with: energies and forces of C, H, N, O.

    pip install mlatom torchani dftd4
    PYTHONPATH=benchmarks/peptide topokrates dataset Ac-Ala-NHMe \\
        --model ase:aiqm2:AIQM2 --walker so3lr

Chen, Hou, Isayev, Dral, Chem. Sci. 16 (2025): GFN2-xTB without its dispersion, corrected by an
ensemble of eight networks towards CCSD(T)/CBS, and D4 dispersion of wB97X. MLatom calls a dftd4
program for the last; here it is dftd4's Python library with the same damping.
"""

from typing import Any

import mlatom  # pyright: ignore[reportMissingImports]
import numpy as np
from ase import units
from ase.calculators.calculator import Calculator, all_changes
from dftd4.interface import DampingParam, DispersionModel  # pyright: ignore[reportMissingImports]

DAMPING = {"s6": 1.0, "s8": -0.07519516, "a1": 0.45094893, "a2": 6.78425255}  # as MLatom has it


class AIQM2(Calculator):
    """Energies in eV, forces in eV/Å; of neutral closed shells.

    `results["deviation"]` is the standard deviation of the ensemble's energies, eV.
    """

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  as ASE has it

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.method = mlatom.aiqm2(method="aiqm2", dispersion_kwargs=False)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        numbers, positions = self.atoms.numbers, self.atoms.positions
        molecule = mlatom.data.molecule.from_numpy(positions, numbers)
        self.method.predict(
            molecule=molecule, calculate_energy=True, calculate_energy_gradients=True
        )
        dispersion = DispersionModel(numbers, positions / units.Bohr).get_dispersion(
            DampingParam(**DAMPING), grad=True
        )
        gradient = np.asarray(molecule.get_energy_gradients())  # hartree/Å
        self.results = {
            "energy": (molecule.energy + dispersion["energy"]) * units.Hartree,
            "forces": -(gradient + dispersion["gradient"] / units.Bohr) * units.Hartree,
            "deviation": float(molecule.aiqm2_nn.energy_standard_deviation) * units.Hartree,
        }
