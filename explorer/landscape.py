"""The landscape of a molecule: its minima, what links them, and the one rule that merges them.

A `Landscape` is a view of one `Store`. Whatever is added is committed before the call returns;
what another process adds to the same file is seen. A structure is a known minimum when its energy
agrees within a window and its symmetric RMSD within a tolerance; energy alone decides nothing.
Energies are absolute, in eV (epsilon for Lennard-Jones particles); what a person reads is
relative to the global minimum, in kcal/mol.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from topokrates import graphs, summary, tables
from topokrates.answers import Answers
from topokrates.identity.index import Matches, MinimumIndex
from topokrates.identity.integrity import allowed_kinds
from topokrates.links import compare
from topokrates.provenance import (
    read_molecule,
    refuse_other_kinds,
    refuse_other_molecule,
    refuse_other_potential,
)
from topokrates.storage.records import Link, Minimum, finite
from topokrates.storage.store import Store

if TYPE_CHECKING:
    from os import PathLike

    import networkx as nx
    import pandas as pd

    from topokrates.model.potential import Potential
    from topokrates.model.progress import Progress
    from topokrates.molecule import Molecule
    from topokrates.pathways.connect import Connected

__all__ = ["KCAL_MOL_PER_EV", "Landscape", "Link", "Minimum"]

KCAL_MOL_PER_EV = 23.060547830619  # e N_A / 4184 J, exact in the SI of 2019
# Certified energies of one minimum agree to 2e-6; within fifty times that the structure decides.
# MMFF94 has two minima of Ac-Ala3-NHMe 0.08 Å apart that only their energies tell apart: 6e-4 eV.
ENERGY_WINDOW = 1e-4  # eV or epsilon


class Landscape(Answers):
    """Minima and links of one molecule with one potential. See `create` and `open`."""

    def __init__(self, store: Store, molecule: Molecule, matcher: Matches | None = None):
        self.store = store
        self.molecule = molecule
        meta = store.meta()
        self.provenance: dict[str, Any] = meta["provenance"]
        self.allow = allowed_kinds(meta.get("allow", []))
        self._matcher = matcher
        self._minima: dict[int, Minimum] = {}
        self._links: dict[int, Link] = {}
        self._index = MinimumIndex()
        self._seen: tuple[int, int] | None = None

    @classmethod
    def create(
        cls,
        molecule: Molecule,
        provenance: Mapping[str, Any],
        database: str | PathLike[str] | None = None,
        matcher: Matches | None = None,
        allow: Iterable[str] = (),
    ) -> Landscape:
        """Open the landscape in `database`, made if there is none yet (None: in memory).

        `provenance` says what the potential is, JSON-able, at least `name` and
        `units: {energy, length}`. An existing database keeps its own copy of the molecule, the
        start geometry included. `allow` names kinds of changed structures that are kept (see
        `topokrates.identity.integrity`). Raises InputError if it holds another molecule or another
        potential, or allows other kinds; software versions, floating-point type and device may
        differ.
        """
        kinds = sorted(allowed_kinds(allow))
        text = molecule.to_json()
        meta = {"molecule": text, "provenance": dict(provenance), "allow": kinds}
        store = Store.create(database, meta)
        try:
            stored = store.meta()
            refuse_other_molecule(store.path, stored["molecule"], text)
            refuse_other_potential(store.path, stored["provenance"], provenance)
            refuse_other_kinds(store.path, stored.get("allow", []), kinds)
            return cls(store, read_molecule(store.path, stored), matcher)
        except BaseException:
            store.close()
            raise

    @classmethod
    def open(cls, database: str | PathLike[str], matcher: Matches | None = None) -> Landscape:
        """Open an existing landscape. Raises InputError if the file is missing or not one."""
        store = Store.open(database)
        try:
            return cls(store, read_molecule(store.path, store.meta()), matcher)
        except BaseException:
            store.close()
            raise

    def close(self) -> None:
        """Close the database file."""
        self.store.close()

    def __enter__(self) -> Landscape:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # what is known

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything added inside is one commit, or nothing if the block raises."""
        with self.store.transaction():
            yield

    def _sync(self) -> None:
        """Take up what other processes committed, and drop what was rolled back."""
        with self.store.snapshot():
            now = (self.store.data_version(), self.store.rollbacks)
            if now == self._seen:
                return
            if self._seen is None or now[1] != self._seen[1]:
                self._minima.clear()
                self._links.clear()
                self._index.clear()
            for minimum in self.store.minima(after=max(self._minima, default=0)):
                self._minima[minimum.id] = minimum
                self._index.add(minimum)
            for name, visits in self.store.visits().items():
                if self._minima[name].visits != visits:
                    self._minima[name] = replace(self._minima[name], visits=visits)
            kept = self.store.link_ids()
            last = max(self._links, default=0)
            self._links = {name: link for name, link in self._links.items() if name in kept}
            self._links |= {link.id: link for link in self.store.links(after=last)}
            self._seen = now

    def contents(self) -> tuple[list[Minimum], list[Link]]:
        """Minima and links at one moment, each by energy, then by id."""
        self._sync()
        minima = [self._minima[name] for name in self._index.ids]
        return minima, sorted(self._links.values(), key=lambda link: (link.energy, link.id))

    @property
    def matcher(self) -> Matches:
        if self._matcher is None:
            from topokrates.identity.matching import Matcher

            self._matcher = Matcher(self.molecule, allow=self.allow)
        return self._matcher

    @property
    def energy_unit(self) -> str:
        return self.provenance["units"]["energy"]

    @property
    def relative_unit(self) -> str:
        """The unit of what a person reads: kcal/mol, or epsilon."""
        return "kcal/mol" if self.energy_unit == "eV" else self.energy_unit

    @property
    def factor(self) -> float:
        """`relative_unit` per `energy_unit`."""
        return KCAL_MOL_PER_EV if self.energy_unit == "eV" else 1.0

    def relative(self, energy: float) -> float:
        """An energy above the global minimum, in `relative_unit`."""
        self._sync()
        return (energy - self._index.lowest) * self.factor

    @property
    def minimum_list(self) -> list[Minimum]:
        """The minima, by energy, then by id."""
        return self.contents()[0]

    @property
    def link_list(self) -> list[Link]:
        """Transition states and estimates, by energy, then by id."""
        return self.contents()[1]

    def minimum(self, name: int) -> Minimum:
        """The minimum of this id. Raises KeyError if there is none."""
        self._sync()
        return self._minima[name]

    def phi_psi(self, positions: np.ndarray | None) -> list[list[float | None]]:
        """[phi, psi] of each residue in degrees, None where an angle or a geometry is missing."""
        if positions is None:
            return [[None, None] for _ in self.molecule.phi_psi]
        table = self.molecule.dihedral_table(positions)
        return [[None if np.isnan(a) else float(a) for a in pair] for pair in table]

    # the merge rule

    def find(
        self, energy: float, positions: np.ndarray, energy_tolerance: float = ENERGY_WINDOW
    ) -> int | None:
        """The id of the stored minimum that this structure is, or None.

        positions (N, 3). Of several within both tolerances the one of least RMSD; never one that
        is stored without positions.
        """
        self._sync()
        return self._index.find(self.matcher, energy, positions, energy_tolerance)

    def add_minimum(
        self,
        energy: float,
        positions: np.ndarray,
        max_force: float | None = None,
        lowest_eigenvalue: float | None = None,
    ) -> tuple[int, bool]:
        """Store a minimum, or count a visit if it is known: (id, whether it is new).

        positions (N, 3). That it is a certified minimum of this molecule is the caller's word.
        Raises ValueError if energy or positions are not finite or of the wrong shape.
        """
        energy, positions = self._checked(energy, positions)
        with self.transaction():
            if (known := self.find(energy, positions)) is not None:
                self._count_visit(self._minima[known])
                return known, False
            minimum = self.store.insert_minimum(
                energy, positions, finite(max_force), finite(lowest_eigenvalue)
            )
            self._minima[minimum.id] = minimum
            self._index.add(minimum)
            return minimum.id, True

    def visit(self, name: int) -> None:
        """Count one more quench that ended in this minimum."""
        with self.transaction():
            self._count_visit(self.minimum(name))

    def _count_visit(self, minimum: Minimum) -> None:
        self.store.add_visit(minimum.id)
        self._minima[minimum.id] = replace(minimum, visits=minimum.visits + 1)

    def add_link(
        self,
        minima: tuple[int, int],
        energy: float,
        positions: np.ndarray,
        verified: bool,
        max_force: float | None = None,
        negative_eigenvalues: int | None = None,
        lowest_eigenvalue: float | None = None,
    ) -> tuple[int, bool]:
        """Store a transition state or an estimate: (id of what stands for it, whether it is new).

        Of a pair every transition state is kept that differs in energy (1e-5) or structure, and
        the lowest estimate if it lies below them all: see `topokrates.links.compare`. Raises
        KeyError for an unknown minimum, ValueError for what is not finite.
        """
        energy, positions = self._checked(energy, positions)
        a, b = sorted(int(name) for name in minima)
        with self.transaction():
            for end in (a, b):
                self.minimum(end)
            pair = [link for link in self._links.values() if link.minima == (a, b)]
            known, beaten = compare(pair, energy, positions, verified, self.matcher.same)
            if known is not None:
                return known, False
            if beaten:
                self.store.delete_links(beaten)
            new = self.store.insert_link(
                (a, b),
                energy=energy,
                positions=positions,
                verified=bool(verified),
                max_force=finite(max_force),
                negative_eigenvalues=negative_eigenvalues,
                lowest_eigenvalue=finite(lowest_eigenvalue),
            )
            for name in beaten:
                del self._links[name]
            self._links[new.id] = new
            return new.id, True

    def _checked(self, energy: float, positions: np.ndarray) -> tuple[float, np.ndarray]:
        positions = np.array(positions, dtype=np.float64)
        if positions.shape != (len(self.molecule.numbers), 3):
            raise ValueError(f"positions of shape {positions.shape} for {self.molecule.name}")
        if not (np.isfinite(energy) and np.isfinite(positions).all()):
            raise ValueError("energy and positions must be finite")
        positions.flags.writeable = False
        return float(energy), positions

    def connect(
        self,
        *,
        potential: Potential | None = None,
        device: str | None = None,
        threads: int | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Connected:
        """Search transition states until the graph hangs together.

        `potential` None finds the one that the landscape was made with; device and threads are
        those of `models.load`, the other options those of
        `topokrates.pathways.connect.connect_minima`, which says what is returned.
        """
        from topokrates.exploration import connect

        return connect(self, potential, device, threads, progress, **options)

    # what can be read from it

    @property
    def graph(self) -> nx.MultiGraph:
        """Minima as nodes and links as edges (key: id of the link), with their numbers."""
        return graphs.multigraph(self)

    @property
    def connected_components(self) -> int:
        """Sets of minima that verified transition states connect; estimates do not count."""
        return graphs.components(self)

    @property
    def minima(self) -> pd.DataFrame:
        """A table of the minima by energy, with units in the column names."""
        return tables.minima_table(self)

    @property
    def links(self) -> pd.DataFrame:
        """A table of the transition states and estimates by energy."""
        return tables.links_table(self)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the structures, JSON-able: what `topokrates show --json` prints."""
        return tables.as_dict(self)

    def export_extxyz(self, path: str | PathLike[str]) -> None:
        """Write minima, then transition states and estimates, each by energy, as extended XYZ."""
        tables.write_extxyz(self, path)

    def __len__(self) -> int:
        self._sync()
        return len(self._minima)

    def summary(self) -> str:
        """One line: what was found."""
        return summary.line(self)

    def __repr__(self) -> str:
        return summary.text(self)

    def _repr_html_(self) -> str:
        return summary.html(self)
