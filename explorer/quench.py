"""From a structure to a minimum of the landscape: descend, check, recognise or certify, store.

Every quench of a search and every push-off from a transition state goes through `Quencher`, so
that nothing enters a landscape by another door.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from topokrates.identity.integrity import Change, allowed, changes
from topokrates.landscape import Landscape
from topokrates.model.potential import Potential
from topokrates.relaxation.certify import Certificate, certify, certify_all
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import Descent, Status, descend

# A descent to 1e-3 eV/Å that ends this close in energy to a stored minimum, and in its shape, is
# a visit: on a mode as soft as 0.003 eV/Å^2 it is 1.7e-4 eV above. A plateau 5 meV above one is
# not, and goes on to the polish; nor is a second minimum 0.6 meV above the first.
RECOGNISED = 3e-4


class Settled(NamedTuple):
    """What a quench came to.

    Attributes:
        outcome: "new", "known", or why it is no minimum of this molecule.
        minimum: id in the landscape, or None.
        energy: of that minimum, or where the quench ended.
        gradient_calls, hessian_vector_products: spent on the polish, not on the descent.
    """

    outcome: str
    minimum: int | None
    energy: float
    gradient_calls: int
    hessian_vector_products: int


class Quencher:
    """Quenches structures of one molecule into one landscape.

    Args:
        landscape: where minima go.
        potential: for descents; polishes use its float64 form.
    """

    def __init__(self, landscape: Landscape, potential: Potential):
        molecule = landscape.molecule
        self.landscape, self.potential = landscape, potential
        self.coordinates = coordinates(molecule.bonds, molecule.positions)

    def descend(self, starts: Iterable[np.ndarray], lanes: int) -> Iterator[Descent]:
        """Descents of structures (N, 3), yielded as they end."""
        return descend(self.potential, self.coordinates, starts, lanes=lanes)

    def prove(self, ends: Sequence[tuple[np.ndarray, float]]) -> list[Certificate | None]:
        """Certificates, as one batch, of all converged descents that will want one.

        A descent that is recognised or broken wants none, nor does one that ends where another
        before it did: by the time it is settled, that is a stored minimum. Each certificate is
        what the descent alone would get.

        Args:
            ends: positions (N, 3) and energy of each.
        """
        wanted: list[int] = []
        for k, (positions, energy) in enumerate(ends):
            if self._rejected(positions, energy) is not None:
                continue
            earlier = [(other, ends[other][1], ends[other][0]) for other in wanted]
            if self.landscape.matcher.find(positions, energy, earlier, RECOGNISED) is None:
                wanted.append(k)
        structures = [ends[k][0] for k in wanted]
        proofs: list[Certificate | None] = [None] * len(ends)
        for k, proof in zip(
            wanted, certify_all(self.potential, self.coordinates, structures), strict=True
        ):
            proofs[k] = proof
        return proofs

    def settle(
        self,
        positions: np.ndarray,
        energy: float,
        status: str,
        log: Callable[[Settled], None] | None = None,
        proof: Certificate | None = None,
    ) -> Settled:
        """Decides what the end of a descent is, and stores it.

        Args:
            positions: (N, 3), where the descent ended.
            energy: there.
            status: the descent's.
            log: called with the result inside the transaction that stores it, so that both are
                committed or neither is.
            proof: its certificate, if there is one; made here if it is wanted and there is none.
        """
        settled, proof = self._judge(positions, energy, status, proof)
        landscape = self.landscape
        with landscape.transaction():
            if proof is not None:
                name, new = landscape.add_minimum(
                    proof.energy, proof.positions, proof.max_force, proof.lowest_eigenvalue
                )
                settled = settled._replace(outcome="new" if new else "known", minimum=name)
            elif settled.minimum is not None:
                landscape.visit(settled.minimum)
            if settled.minimum is not None:
                settled = settled._replace(energy=landscape.minimum(settled.minimum).energy)
            if log is not None:
                log(settled)
        return settled

    def _rejected(self, positions: np.ndarray, energy: float) -> Settled | None:
        """What a converged descent is, if no certificate is needed to tell."""
        if change := self._refused(positions):
            return Settled(str(change.kind), None, energy, 0, 0)
        known = self.landscape.find(energy, positions, RECOGNISED)
        return None if known is None else Settled("known", known, energy, 0, 0)

    def _refused(self, positions: np.ndarray) -> Change:
        """What became of the molecule, if the landscape does not keep such structures."""
        change = changes(self.landscape.molecule, positions)
        return Change() if allowed(change, self.landscape.allow) else change

    def _judge(
        self, positions: np.ndarray, energy: float, status: str, proof: Certificate | None
    ) -> tuple[Settled, Certificate | None]:
        """What it is, before anything is written; with a certificate if it may be new."""
        if status != Status.CONVERGED:
            return Settled(status, None, energy, 0, 0), None
        if (settled := self._rejected(positions, energy)) is not None:
            return settled, None
        if proof is None:
            proof = certify(self.potential, self.coordinates, positions)
        spent = (proof.gradient_calls, proof.hessian_vector_products)
        if proof.status is not Status.CERTIFIED:
            return Settled(str(proof.status), None, proof.energy, *spent), None
        if change := self._refused(proof.positions):
            return Settled(str(change.kind), None, proof.energy, *spent), None
        return Settled("new", None, proof.energy, *spent), proof
