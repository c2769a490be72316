"""topokrates: the minima of a molecule, the transition states between them, and how they connect.

    from topokrates import explore

    landscape = explore("Ac-Ala-NHMe", database="ala.db")
    landscape.minima
    landscape.disconnectivity_graph().figure().show()

Units: eV, Å and e inside; epsilon and sigma for Lennard-Jones clusters; what a person reads is in
kcal/mol.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topokrates.exploration import explore
    from topokrates.landscape import Landscape
    from topokrates.model.errors import InputError
    from topokrates.molecule import Molecule

__all__ = ["InputError", "Landscape", "Molecule", "explore"]

_HOMES = {
    "InputError": "topokrates.model.errors",
    "Landscape": "topokrates.landscape",
    "Molecule": "topokrates.molecule",
    "explore": "topokrates.exploration",
}


def __getattr__(name: str) -> Any:
    # jax, rdkit and the rest take seconds to import: they are fetched when something needs them
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
