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
# # The energy landscape of alanine dipeptide
#
# Ac-Ala-NHMe is the smallest molecule with the backbone of a protein: one pair of torsions,
# $\phi$ and $\psi$, decides what it looks like. We search its minima with the SO3LR force field,
# connect them by transition states, and look at how the landscape hangs together.

# %%
import os

from topokrates import explore

# 160 quenches find all minima; a smaller budget is enough to see how it goes
quenches = int(os.environ.get("TOPOKRATES_QUENCHES", "160"))
attempts = os.environ.get("TOPOKRATES_ATTEMPTS")

landscape = explore(
    "Ac-Ala-NHMe",
    model="so3lr",
    walkers=8,
    quenches=quenches,
    seed=0,
    attempts=int(attempts) if attempts else None,
)
landscape

# %% [markdown]
# ## Minima
#
# Each is certified: the largest force is below 1e-4 eV/Å, and every eigenvalue of the Hessian is
# positive once the rigid motions are projected out. Pairs with the same $\phi$ and $\psi$ differ
# by the turn of a methyl group: they are minima of their own, with a transition state between them.

# %%
landscape.minima

# %% [markdown]
# ## Transition states
#
# A transition state has exactly one negative eigenvalue, and descents from its two sides end in
# the two minima named here. An *estimate* is the highest point of a band that led to no verified
# transition state: an upper bound, no more.

# %%
landscape.links

# %% [markdown]
# ## The disconnectivity graph
#
# Each line ends at the energy of its minimum. Two lines join at the first level above the lowest
# transition state that connects them.

# %%
landscape.disconnectivity_graph().figure()

# %% [markdown]
# ## Where the minima lie

# %%
from topokrates.drawing.scatter import ramachandran_figure

ramachandran_figure(landscape)

# %% [markdown]
# The landscape is a networkx graph, so that everything networkx knows can be asked of it: here the
# lowest path from the global minimum to the mirror-like C7ax conformer.

# %%
import networkx as nx

graph = landscape.graph
lowest = landscape.minimum_list[0].id
paths = nx.minimum_spanning_tree(nx.Graph(graph), weight="energy")
for name in sorted(graph.nodes, key=lambda name: graph.nodes[name]["energy"])[1:]:
    if nx.has_path(paths, lowest, name):
        way = nx.shortest_path(paths, lowest, name)
        top = max(paths.edges[edge]["energy"] for edge in nx.utils.pairwise(way))
        print(f"{lowest} to {name}: by {way}, top {landscape.relative(top):.2f} kcal/mol")
