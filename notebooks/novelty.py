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
# A force field that learned from one region of a landscape is asked about all of it. SO3LR stands
# for the reference method, since it is fast enough to check everything afterwards: a few
# picoseconds of its dynamics, begun in the stretched form of Ac-Ala3-NHMe, are all that the network
# sees. What does it find that it was never shown, and is it right about it?
#
# It takes about half an hour on one CPU core. What is done is kept, and not done again.

# %%
import os
from pathlib import Path

import numpy as np

from topokrates import explore
from topokrates.dynamics.integrators import Ensemble
from topokrates.dynamics.run import dynamics
from topokrates.dynamics.starts import at_rest
from topokrates.model import models
from topokrates.model.training.config import of_table
from topokrates.model.training.runs import train
from topokrates.molecule import Molecule
from topokrates.perception import read_frames

peptide = os.environ.get("TOPOKRATES_PEPTIDE", "Ac-Ala3-NHMe")
steps = int(os.environ.get("TOPOKRATES_STEPS", "10000"))
quenches = int(os.environ.get("TOPOKRATES_QUENCHES", "200"))
folder = Path(os.environ.get("TOPOKRATES_FOLDER", "novelty"))
folder.mkdir(exist_ok=True)

molecule = Molecule.from_text(peptide)
reference = models.load("so3lr").bind(molecule.numbers)

# %% [markdown]
# ## One region
#
# Four replicas at 400 K, from the stretched geometry that a name is built with. The trajectory
# carries energies and forces, so it is a training set as it is.

# %%
frames = folder / "train.extxyz"
if not frames.exists():
    start = at_rest(reference, molecule)
    ensemble = Ensemble("langevin", temperature=400.0, timestep=0.5, seed=1)
    run = dynamics(reference, molecule, [start] * 4, ensemble, steps, every=40, output=frames)
    print(f"{run.kept:.0%} of the replicas kept every bond")
training = read_frames(frames)
visited = np.array([molecule.dihedral_table(frame.positions) for frame in training])
print(len(training), "frames")

# %% [markdown]
# Where they have been: $\phi$ and $\psi$ of all residues, in degrees.

# %%
low, high = np.percentile(np.reshape(visited, (-1, 2)) % 360, [5, 95], axis=0)
print(f"phi {low[0]:.0f} to {high[0]:.0f}, psi {low[1]:.0f} to {high[1]:.0f} (of 0 to 360)")

# %% [markdown]
# ## A network that knows no more
#
# The settings are those of a TOML file, as `topokrates train` takes it.

# %%
made = train(
    of_table(
        {
            "data": {"files": [str(frames.resolve())], "validation": len(training) // 10},
            "network": {"features": 32, "layers": 2, "cutoff": 4.5},
            "optimiser": {"steps": steps, "batch": 5, "warmup": 200, "learning_rate": 2e-3},
            "run": {"validate_every": max(100, steps // 20), "name": "one region"},
        }
    ),
    folder / "network",
)
print(f"validation: {made.validation.energy_mae:.1f} meV, {made.validation.force_mae:.1f} meV/Å")

# %% [markdown]
# ## Its landscape
#
# Quenches that end in a broken or another molecule are counted and left out: the first sign that a
# network is asked about what it does not know.

# %%
landscape = explore(
    peptide,
    model=str(made.weights),
    quenches=quenches,
    seed=0,
    connect=False,
    database=folder / "landscape.db",
)
print(landscape.summary())

# %% [markdown]
# ## What is new
#
# A minimum is known if a descent from a training frame ends in it, new otherwise. Ten of each kind
# are optimised anew with the reference: by how much is the relative energy wrong, and how far does
# the structure move?

# %%
found = landscape.novelty(frames, reference="so3lr", sample=10)
found.summary()

# %%
found.figure()

# %%
found.table.head(20)

# %% [markdown]
# New minima lie further from the frames in both measures, the symmetric RMSD and that of the
# network's own descriptors, and the reference agrees less with them. Where the error of what is new
# is larger than one can bear, those structures are what to label next: `found.new` names them.
