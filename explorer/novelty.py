"""Which minima are new: beyond what the force field was trained on.

    found = landscape.novelty("train.npz", reference="tblite:GFN2-xTB")
    found.table
    found.figure()

A minimum is *known* if the data hold a frame of its basin: if a descent from one of the training
frames nearest to it ends in it. It is *new* otherwise: nobody has shown the network where it is.
Beside that verdict stand two distances to the nearest frame, the symmetric RMSD and that of the
network's own descriptors, the latter over the distances that the training frames have among
themselves: above 1 an atom's surroundings are stranger than those of all but one in a hundred
training atoms. A sample of new and of known minima is optimised anew with a reference method, which
tells whether what is new is also wrong. After Frank, Unke, Müller, Chmiela, Nat. Commun. 15, 6539
(2024), who found minima beyond the training data and checked them so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from topokrates.identity.integrity import changes
from topokrates.labelled import positions_of
from topokrates.model.errors import InputError
from topokrates.model.models import ForceField
from topokrates.model.network import NetworkPotential
from topokrates.model.potential import Potential
from topokrates.model.progress import Progress, Silent
from topokrates.quench import RECOGNISED
from topokrates.relaxation.certify import certify
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import Status, descend
from topokrates.storage.records import located

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from topokrates.landscape import Landscape

NEAREST = 3  # frames that a descent begins from, for each minimum
USUAL = 99  # percentile of the training atoms' distances that is called 1
PAIRS = 2000  # atoms of an element that are compared, at most


@dataclass(frozen=True, eq=False)
class Novelty:
    """What `novelty` found.

    Attributes:
        table: a row for each minimum, by energy: id, relative energy, new, RMSD to the nearest
            frame, descriptor distance; and, of the sample, energy error and displacement of the
            reference's minimum, and whether the reference made another molecule of it.
        frames: training frames of this molecule.
        energy_unit: of energies, "kcal/mol".
    """

    table: pd.DataFrame
    frames: int
    energy_unit: str

    @property
    def new(self) -> list[int]:
        """Ids of the new minima."""
        return self.table.loc[self.table["new"], "id"].tolist()

    def summary(self) -> pd.DataFrame:
        """Known beside new: how many, how far, mean absolute energy error and displacement."""
        groups = [("known", self.table[~self.table["new"]]), ("new", self.table[self.table["new"]])]
        error = f"energy error ({self.energy_unit})"
        rows = {
            name: {
                "minima": len(group),
                "mean RMSD to a frame (Å)": group["RMSD to a frame (Å)"].mean(),
                "checked": int(np.isfinite(group[error]).sum()),
                f"mean absolute {error}": _mean_size(group[error]),
                "mean displacement (Å)": group["displacement (Å)"].mean(),
            }
            for name, group in groups
            if len(group)
        }
        import pandas as pd

        return pd.DataFrame.from_dict(rows, orient="index")

    def figure(self) -> go.Figure:
        """Relative energy against the distance to the training data; the checked ones ringed."""
        from topokrates.drawing.novelty import novelty_figure

        return novelty_figure(self)


def _mean_size(values: Any) -> float:
    """Mean of the absolute values that are numbers; NaN if there are none."""
    found = np.asarray(values, float)
    found = found[np.isfinite(found)]
    return float(np.abs(found).mean()) if len(found) else float("nan")


def novelty(
    landscape: Landscape,
    training_set: str | PathLike[str] | Sequence[Any],
    potential: Potential | None = None,
    *,
    reference: str | ForceField | None = None,
    sample: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> Novelty:
    """Compares minima with training frames; see the module.

    Args:
        landscape: of a molecule, with positions of its minima.
        training_set: a file as `topokrates train` reads it, in eV and Å, or ASE atoms. Frames of
            other molecules are passed over; those of this one must have its order of atoms.
        potential: that the landscape was made with; None finds it by its name.
        reference: a force field, or its name, that a sample is optimised with anew.
        sample: new and known minima that are, at most so many of each.
        seed: of the sample.
        progress: told how it goes.

    Raises:
        InputError: if there is no minimum, if no frame is of this molecule, or if something cannot
            be read or loaded.
    """
    import pandas as pd

    from topokrates.analysis.harmonics import own_potential

    progress = progress or Silent()
    molecule = landscape.molecule
    if molecule.is_cluster:
        raise InputError(f"{molecule.name}: novelty is asked of molecules, not of clusters")
    frames = positions_of(training_set, molecule.numbers)
    if not len(frames):
        raise InputError(
            f"no frame is of {molecule.name}, with its {molecule.n_atoms} atoms in order"
        )
    minima = landscape.minimum_list
    if not minima:
        raise InputError(f"{molecule.name}: the landscape holds no minimum that could be new")
    model = potential or own_potential(landscape)
    x = np.stack([located(m) for m in minima])
    rmsd, nearest = _nearest(landscape.matcher, x, frames, progress)
    known = _known(landscape, model, nearest, frames, progress)
    strange = _strangeness(model, x, frames)
    energies = np.array([m.energy for m in minima])
    above = (energies - energies.min()) * landscape.factor
    new = np.array([m.id not in known for m in minima])
    table = pd.DataFrame({
        "id": [m.id for m in minima],
        f"relative energy ({landscape.relative_unit})": above,
        "new": new,
        "RMSD to a frame (Å)": rmsd,
        "descriptor distance": strange,
    })  # fmt: skip
    error, moved = np.full((2, len(minima)), np.nan)
    other = [""] * len(minima)
    if reference is not None:
        rng = np.random.default_rng(seed)
        rows = [
            row
            for group in (np.flatnonzero(new), np.flatnonzero(~new))
            for row in sorted(rng.permutation(group)[:sample])
        ]
        judge = _bound(reference, landscape)
        for row, energy, displacement, what in _anew(landscape, judge, x, rows, progress):
            error[row], moved[row], other[row] = energy, displacement, what
        # of relative energies: what known minima are off by on average is a constant
        base = rows if new[rows].all() else [row for row in rows if not new[row]]
        error = (energies - error) * landscape.factor
        if np.isfinite(error[base]).any():
            error -= np.nanmean(error[base])
    table[f"energy error ({landscape.relative_unit})"] = error
    table["displacement (Å)"] = moved
    table["reference finds"] = other
    return Novelty(table, len(frames), landscape.relative_unit)


def _nearest(
    matcher: Any, x: np.ndarray, frames: np.ndarray, progress: Progress
) -> tuple[np.ndarray, list[list[int]]]:
    """Symmetric RMSD to the nearest frame, and the few nearest frames, of each minimum."""
    progress.stage("training data", len(x))
    least, found = [], []
    for k, one in enumerate(x):
        bounds = matcher.bounds(one, frames)
        best: list[tuple[float, int]] = []
        for frame in np.argsort(bounds, kind="stable"):
            if len(best) >= NEAREST and bounds[frame] > best[NEAREST - 1][0]:
                break
            best = sorted([*best, (matcher.rmsd(one, frames[frame]), int(frame))])[:NEAREST]
        least.append(best[0][0])
        found.append([frame for _, frame in best])
        progress.advance(k + 1)
    return np.array(least), found


def _known(
    landscape: Landscape,
    potential: Potential,
    nearest: list[list[int]],
    frames: np.ndarray,
    progress: Progress,
) -> set[int]:
    """Ids of minima that a descent from a frame ends in."""
    molecule = landscape.molecule
    internal = coordinates(molecule.bonds, molecule.positions)
    starts = sorted({frame for row in nearest for frame in row})
    progress.stage("descents from frames", len(starts))
    known: set[int] = set()
    ends = descend(potential, internal, [frames[k] for k in starts])
    for count, end in enumerate(ends):
        if end.status is Status.CONVERGED and not changes(molecule, end.positions):
            name = landscape.find(end.energy, end.positions, RECOGNISED)
            if name is None:  # perhaps not quite there
                proof = certify(potential, internal, end.positions)
                name = landscape.find(proof.energy, proof.positions, RECOGNISED)
            known |= set() if name is None else {name}
        progress.advance(count + 1)
    return known


def _strangeness(potential: Potential, x: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Largest distance of an atom's descriptor to the nearest of its element in the data, (M,).

    In units of what is usual within the data; NaN for a model without descriptors.
    """
    if not isinstance(potential, NetworkPotential):
        return np.full(len(x), np.nan)
    rng = np.random.default_rng(0)
    some = frames[rng.permutation(len(frames))[: max(2, PAIRS // 4)]]
    theirs, ours = potential.descriptors(some), potential.descriptors(x)
    largest = np.zeros(len(x))
    for element in np.unique(potential.numbers):
        atoms = np.flatnonzero(potential.numbers == element)
        pool = theirs[:, atoms].reshape(-1, theirs.shape[-1])
        of_frame = np.repeat(np.arange(len(some)), len(atoms))
        few = rng.permutation(len(pool))[: PAIRS // 4]
        own = np.linalg.norm(pool[few][:, None] - pool[None], axis=-1)
        own[of_frame[few][:, None] == of_frame[None]] = np.inf  # not from its own frame
        usual = np.percentile(own.min(axis=1), USUAL)
        for k, one in enumerate(ours[:, atoms]):
            apart = np.linalg.norm(one[:, None] - pool[None], axis=-1).min(axis=1)
            largest[k] = max(largest[k], float(apart.max() / max(usual, 1e-12)))
    return largest


def _bound(reference: str | ForceField, landscape: Landscape) -> Potential:
    from topokrates.exploration import potential_of

    return potential_of(landscape.molecule, reference)


def _anew(
    landscape: Landscape,
    judge: Potential,
    x: np.ndarray,
    rows: Sequence[int],
    progress: Progress,
) -> Any:
    """(row, the reference's energy, symmetric RMSD, what became of it) of minima optimised anew."""
    molecule = landscape.molecule
    internal = coordinates(molecule.bonds, molecule.positions)
    matcher: Any = landscape.matcher
    progress.stage("reference", len(rows))
    starts = [x[row] for row in rows]
    for count, end in enumerate(descend(judge, internal, starts, lanes=min(16, max(len(rows), 1)))):
        row = rows[end.index]
        progress.advance(count + 1)
        if end.status is not Status.CONVERGED:
            yield row, np.nan, np.nan, str(end.status)
            continue
        change = changes(molecule, end.positions)
        moved = np.nan if change else matcher.rmsd(x[row], end.positions)
        energy = np.nan if change else end.energy
        yield row, energy, moved, str(change) if change else "a minimum"
