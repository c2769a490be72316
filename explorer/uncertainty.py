"""Where a search has left what its force field learned: how far a committee disagrees.

    landscape = explore("Ac-Ala-NHMe", model="a.safetensors,b.safetensors,c.safetensors")
    landscape.disagreement()

See `topokrates.model.committee`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from topokrates import tables
from topokrates.model.committee import CommitteePotential
from topokrates.model.errors import InputError
from topokrates.storage.records import located

if TYPE_CHECKING:
    import pandas as pd

    from topokrates.landscape import Landscape
    from topokrates.model.potential import Potential


def disagreement(landscape: Landscape, potential: Potential | str | None = None) -> pd.DataFrame:
    """Spread of a committee at each minimum, by energy.

    Args:
        landscape: with positions of its minima.
        potential: a committee's, of this molecule, or the names of its models, with commas between
            them; None for the one that the landscape was made with. It may be another: any
            committee can look at what any search has found.

    Returns:
        A table: id, relative energy, standard deviation of the energy relative to the mean over
        all minima (so that a constant does not count), and the largest standard deviation of the
        force on an atom, with units in the column names.

    Raises:
        InputError: if the potential is no committee, or a model does not exist.
    """
    import pandas as pd

    from topokrates.analysis.harmonics import own_potential
    from topokrates.exploration import potential_of

    if isinstance(potential, str):
        potential = potential_of(landscape.molecule, potential)
    found = own_potential(landscape) if potential is None else potential
    if not isinstance(found, CommitteePotential):
        raise InputError(
            f"{found.name} is one model, which cannot disagree with itself: name several, with"
            " commas between them"
        )
    minima = landscape.minimum_list
    unit = tables.units(landscape)
    columns = [
        "id",
        f"relative energy ({landscape.relative_unit})",
        f"spread of the energy ({landscape.relative_unit})",
        f"largest spread of a force ({unit['force']})",
    ]
    if not minima:
        return pd.DataFrame(columns=pd.Index(columns))
    energies, forces = found.disagreement(np.stack([located(m) for m in minima]))
    rows = [
        [m.id, (m.energy - minima[0].energy) * landscape.factor, e * landscape.factor, f.max()]
        for m, e, f in zip(minima, energies, forces, strict=True)
    ]
    return pd.DataFrame(rows, columns=pd.Index(columns))
