"""Whether what was read is the molecule that it is said to be.

PATHSAMPLE and pele write bare coordinates: a file whose atoms are in another order, or whose
lengths are in another unit, reads like any other and means nothing. Bonds and stereo tell, as they
do of every quench.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from topokrates.exchange.contents import Contents
from topokrates.identity.integrity import Kind, allowed, changes
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule


def compared(contents: Contents, molecule: Molecule, path: Path) -> tuple[Contents, str | None]:
    """The contents, with the kinds of changed minima that they hold allowed, and a word on them.

    Minima without positions are taken at their word, and so are transition states, whose bonds may
    be on their way. Of a cluster, whose particles have neither bonds nor an order, only the word.

    Raises InputError, in the same words, if no minimum of a molecule is that molecule.
    """
    minima = [m for m in contents.minima if m.positions is not None]
    wrong = []
    for minimum in minima:
        assert minimum.positions is not None
        change = changes(molecule, minimum.positions)
        if not allowed(change, contents.allow):
            wrong.append((minimum, change))
    if not wrong:
        return contents, None
    count = Counter(change.kind for _, change in wrong)
    kinds = ", ".join(str(kind) if len(count) == 1 else f"{n} {kind}" for kind, n in count.items())
    first, change = wrong[0]
    word = "minimum is" if len(minima) == 1 else "minima are"
    note = (
        f"{len(wrong)} of {len(minima)} {word} not {molecule.name} ({kinds}), first minimum"
        f" {first.id}: {change.reasons[0]}: {_question(molecule, set(count))}"
    )
    if len(wrong) == len(minima) and not molecule.is_cluster:
        raise InputError(f"{path}: {note}")
    kept = contents.allow.union(*(change.kinds for _, change in wrong))
    return replace(contents, allow=kept), note


def _question(molecule: Molecule, kinds: set[Kind]) -> str:
    if molecule.is_cluster:
        return "are lengths in sigma?"
    if kinds <= {Kind.STEREO, Kind.CIS_TRANS}:
        return "is it another isomer?"
    return f"are the atoms in the order of {molecule.name}, and lengths in Å?"
