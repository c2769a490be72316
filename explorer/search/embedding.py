"""Random structures of a molecule by RDKit's distance geometry (ETKDG).

Wang, Witek, Landrum and Riniker, J. Chem. Inf. Model. 60, 2044 (2020). The graph comes from the
molecule's bonds and its stereochemistry from its geometry, so it serves whatever a molecule was
made from; a structure that is not the molecule asked for is drawn again.
"""

from functools import lru_cache

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

from topokrates.identity.integrity import changes
from topokrates.molecule import Molecule
from topokrates.perception import assign_orders, with_positions

DRAWS = 4
ITERATIONS = 30
STRIDE = 104_729  # so that the second draw of one seed is not the first of the next


def embedded(molecule: Molecule, seed: int) -> np.ndarray | None:
    """Positions (N, 3), Å, by distance geometry; None if it has none that is the molecule.

    Molecules of several fragments have none: distance geometry knows nothing between them.
    """
    graph = _graph(molecule)
    if graph is None:
        return None
    settings = rdDistGeom.ETKDGv3()
    settings.maxIterations = ITERATIONS
    settings.randomSeed = seed
    with rdBase.BlockLogs():
        for _ in range(DRAWS):
            mol = Chem.Mol(graph)
            if rdDistGeom.EmbedMolecule(mol, settings) < 0:
                settings.useRandomCoords = True
            else:
                x = np.array(mol.GetConformer().GetPositions())
                if not changes(molecule, x):
                    return x
            settings.randomSeed = (settings.randomSeed + STRIDE) % 2**31
    return None


@lru_cache(maxsize=64)
def _graph(molecule: Molecule) -> Chem.Mol | None:
    mol, known = assign_orders(
        molecule.numbers, molecule.positions, molecule.bonds, molecule.charge
    )
    if not known or len(Chem.GetMolFrags(mol)) > 1:
        return None
    with rdBase.BlockLogs():
        mol = with_positions(mol, molecule.positions)
        Chem.AssignStereochemistryFrom3D(mol)
    return mol
