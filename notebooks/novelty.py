# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Beyond the training data
#
# A force field that has learned from one region of a landscape is asked about all of it. Which of
# the minima that it finds did it never see, and are they there? Frank, Unke, Müller and Chmiela
# (Nat. Commun. 15, 6539 (2024)) showed that SO3krates finds minima beyond its training data; here
# is the same question, asked of Ac-Ala3-NHMe, with every step in view:
#
# 1. frames of the *extended* region alone, all $\psi$ turned outwards, labelled by a reference;
# 2. a small network, trained on nothing else;
# 3. an exploration with that network, which nothing keeps in that region;
# 4. `landscape.novelty`: known minima, new ones, and what the reference says of both.
#
# The reference is the `peptide` force field that comes with the package, so that all of it runs
# without a download; a level of theory of your own is used alike, by its name or as an ASE
# calculator. About forty minutes on two CPU cores, most of it for the training.

# %%
import os

import numpy as np

from topokrates import explore
from topokrates.dynamics.integrators import Ensemble
from topokrates.dynamics.run import dynamics
from topokrates.dynamics.starts import at_rest
from topokrates.model import models
from topokrates.molecule import Molecule, dihedral
from topokrates.perception import read_frames

name = os.environ.get("TOPOKRATES_PEPTIDE", "Ac-Ala3-NHMe")
steps = int(os.environ.get("TOPOKRATES_STEPS", "12000"))
quenches = int(os.environ.get("TOPOKRATES_QUENCHES", "200"))

molecule = Molecule.from_text(name)
reference = models.load("peptide").bind(molecule.numbers)

# %% [markdown]
# ## One region
#
# Sixteen replicas begin as extended chains and move for 2 ps at 400 K. What leaves the region, with
# any $\phi > 0$ or $|\psi| < 90°$, is left out; of the rest 500 frames are kept.

# %%
start = at_rest(reference, molecule)
dynamics(
    reference,
    molecule,
    [start] * 16,
    Ensemble("langevin", 400.0, timestep=0.5, friction=10.0, seed=1),
    steps=4000,
    every=50,
    output="extended.xyz",
)
x = np.stack([frame.positions for frame in read_frames("extended.xyz")])
phi, psi = (
    np.degrees([dihedral(x, residue[which]) for residue in molecule.phi_psi]) for which in (0, 1)
)
inside = np.flatnonzero(((phi < 0) & (np.abs(psi) > 90)).all(axis=0))
chosen = x[np.random.default_rng(0).permutation(inside)[:500]]
energies, forces = reference.energies_and_forces(chosen)
np.savez("extended.npz", R=chosen, z=molecule.numbers, E=energies, F=forces)
print(f"{len(x)} frames, {len(inside)} of them in the region, {len(chosen)} kept")

# %% [markdown]
# ## A network that knows nothing else

# %%
from topokrates.model.training import config
from topokrates.model.training.runs import train

settings = config.of_table({
    "data": {"files": ["extended.npz"], "validation": 50},
    "network": {"features": 32, "layers": 2, "degrees": [1, 2], "cutoff": 4.0},
    "loss": {"energy": 0.1, "forces": 0.9},
    "optimiser": {
        "method": "muon", "steps": steps, "batch": 8, "warmup": 200, "learning_rate": 3e-3
    },
    "run": {"validate_every": max(steps // 10, 1), "name": "extended"},
})  # fmt: skip
trained = train(settings, "extended")
print(trained.validation)

# %% [markdown]
# ## Where it goes
#
# Nothing tells the search where the training frames were. What ends as another molecule is counted
# and left out: far from its data a network may invent things.

# %%
landscape = explore(
    name, model=str(trained.weights), quenches=quenches, walkers=8, seed=0, connect=False
)
print(landscape.summary())

# %% [markdown]
# ## Known and new
#
# A minimum is *known* if the training frames nearest to it relax into it, and *new* otherwise. Ten
# of each, at most, are optimised anew with the reference: how far off is the relative energy, and
# how far does the structure move?

# %%
novelty = landscape.novelty("extended.npz", reference="peptide", sample=10)
novelty.summary()

# %%
novelty.figure()

# %%
novelty.table[novelty.table["new"]].head(20)

# %% [markdown]
# The energies of new minima are off by more than those of the known ones, and yet most of the new
# structures are minima of the reference too, a little displaced: the network has learned bonds,
# angles and hydrogen bonds from one region, and they are the same in the others. Labelled and
# learned from (`topokrates dataset landscape.db --unlike extended.npz`), they are known next time.
