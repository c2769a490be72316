"""What can be asked of a landscape beyond what it holds: graph, heat, rates, and its own limits.

Methods of `Landscape`, each a door to the room where the work is done.
"""

# A mixin's methods are called on what it is mixed into, which a type checker cannot know.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from topokrates.analysis import harmonics
from topokrates.analysis import tables as analysis

if TYPE_CHECKING:
    import pandas as pd

    from topokrates.analysis.harmonics import Harmonics
    from topokrates.analysis.tables import Ids
    from topokrates.comparison import LandscapeComparison
    from topokrates.drawing.disconnectivity import Tree
    from topokrates.landscape import Landscape
    from topokrates.model.potential import Potential
    from topokrates.novelty import Novelty


class Answers:
    """Mixed into `Landscape`."""

    def disconnectivity_graph(
        self: Landscape, free_energy_at: float | None = None, **options: Any
    ) -> Tree:
        """The disconnectivity graph; draw it with its `figure` or `save`.

        Of energies, or of free energies at a temperature (K; epsilon/k_B). The other options
        (levels, what is hidden, order, colour) are those of `charting.chart`; energies
        in kcal/mol (epsilon for Lennard-Jones particles).
        """
        from topokrates.drawing.charting import chart

        if free_energy_at is not None:
            options |= analysis.heights(self, self.frequencies(), free_energy_at)
        return chart(self, **options)

    def disagreement(self: Landscape, potential: Potential | str | None = None) -> pd.DataFrame:
        """How far a committee disagrees about each minimum: `topokrates.uncertainty`."""
        from topokrates import uncertainty

        return uncertainty.disagreement(self, potential)

    def novelty(
        self: Landscape, training_set: Any, potential: Potential | None = None, **options: Any
    ) -> Novelty:
        """Which minima are beyond the training data: `topokrates.novelty.novelty`."""
        from topokrates.novelty import novelty

        return novelty(self, training_set, potential, **options)

    def compare(self: Landscape, other: Landscape, **options: Any) -> LandscapeComparison:
        """This landscape beside that of another force field: `topokrates.comparison.compare`."""
        from topokrates.comparison import compare

        return compare(self, other, **options)

    # heat and rates, with the options of `topokrates.analysis.wells`: `quantum`, `rotation`

    def frequencies(
        self: Landscape, potential: Potential | None = None, **options: Any
    ) -> Harmonics:
        """Vibrations, computed where the database lacks them: `topokrates.analysis.harmonics`."""
        return harmonics.frequencies(self, potential, **options)

    def heat_capacity(
        self: Landscape, temperatures: Iterable[float], **options: Any
    ) -> pd.DataFrame:
        """Free energy, internal energy, heat capacity and entropy at temperatures."""
        return analysis.heat_capacity(self, self.frequencies(links=False), temperatures, **options)

    def free_energies(self: Landscape, temperature: float, **options: Any) -> pd.DataFrame:
        """The minima by free energy, with their probabilities and symmetry."""
        return analysis.free_energies(self, self.frequencies(links=False), temperature, **options)

    def rates(self: Landscape, temperature: float, **options: Any) -> pd.DataFrame:
        """Rates between minima, or groups of them: `topokrates.analysis.wells.rate_network`."""
        return analysis.rates(self, self.frequencies(), temperature, **options)

    def passage(
        self: Landscape, a: Ids, b: Ids, temperature: float, **options: Any
    ) -> pd.DataFrame:
        """Times and rates between minima a and b, there and back, and the fastest path."""
        return analysis.passages(self, self.frequencies(), a, b, temperature, **options)
