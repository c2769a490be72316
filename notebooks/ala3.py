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
# # The energy landscape of Ac-Ala3-NHMe
#
# Three alanines between two caps can turn back on themselves: with three pairs of $\phi$ and
# $\psi$ there are some hundred minima, held by rings of seven atoms (C7), by turns of ten (C10),
# or by nothing. We search them with the SO3LR force field, connect the 30 lowest by transition
# states, and ask what the landscape says about temperature and rates.
#
# All of it takes about an hour on one CPU core, most of it for the transition states. It is kept in
# a database, `ala3.db` or the file that `TOPOKRATES_DATABASE` names, so that the notebook goes on
# where it was stopped, and runs in seconds the next time. Of another peptide, name both.

# %%
import os

from topokrates import explore

peptide = os.environ.get("TOPOKRATES_PEPTIDE", "Ac-Ala3-NHMe")
database = os.environ.get("TOPOKRATES_DATABASE", "ala3.db")
quenches = int(os.environ.get("TOPOKRATES_QUENCHES", "500"))
attempts = int(os.environ.get("TOPOKRATES_ATTEMPTS", "212"))

landscape = explore(
    peptide,
    model="so3lr",
    walkers=10,
    quenches=quenches,
    seed=0,
    connect=False,
    database=database,
)
landscape.connect(lowest=30, limit=attempts)
# the rest of the attempts looks for lower passes to low minima behind high barriers
landscape.connect(strategy="untrap", limit=attempts)
print(landscape.summary())

# %% [markdown]
# ## The lowest minima
#
# Each is certified by its Hessian. Beside $\phi$ and $\psi$ of the three residues stand the values
# that tell the folds apart; any of them can order, place or colour the graph below.

# %%
from topokrates.observables import observe_all

minima = landscape.minima.set_index("id")
minima = minima[[name for name in minima if name.startswith(("relative", "phi", "psi"))]].round(1)
folds = observe_all(landscape, ["hydrogen-bonds", "radius-of-gyration", "end-to-end"])
for value in folds:
    minima[value.title] = minima.index.map(value.values).to_numpy().round(2)
minima = minima.convert_dtypes()  # hydrogen bonds are counts
minima.head(12)

# %% [markdown]
# ## The disconnectivity graph
#
# Each line ends at the energy of a minimum, and two meet at the first level above the lowest
# transition state that connects them. Hover over an end for its angles, over a junction for the
# transition states that meet there.

# %%
landscape.disconnectivity_graph(lowest=30, colour="radius-of-gyration").figure()

# %% [markdown]
# As a picture for print, coloured by the number of hydrogen bonds. A superbasin takes a colour only
# if all its minima agree, so black is where the lines of different folds have met.

# %%
from IPython.display import Image


def picture(tree):
    """What a journal would be sent, but smaller."""
    tree.save("ala3.png", height=4.2, dpi=110)
    return Image("ala3.png")


picture(landscape.disconnectivity_graph(lowest=30, colour="hydrogen-bonds"))

# %% [markdown]
# ## What is not drawn
#
# Trimming hides branches and changes no connection: the levels at which the others meet stay as
# they are. Whatever is hidden is counted on the drawing. `trees` is how many parts no link
# connects, estimates included; only the 30 lowest minima were asked to hang together.

# %%
import pandas as pd

trims = [
    {},
    {"lowest": 30},
    {"window": 5},  # kcal/mol above the global minimum
    {"min_degree": 2},  # linked to two others
    {"monotonic": True},  # no link to a lower one
    {"persistence": 2},  # a barrier of 2 kcal/mol towards a lower one
    {"persistence": 2, "lowest": 30},
]
counts = []
for trim in trims:
    tree = landscape.disconnectivity_graph(**trim)
    name = ", ".join(f"{key}={value}" for key, value in trim.items()) or "nothing hidden"
    counts.append((name, len(tree.branches), tree.hidden, len(tree.components)))
pd.DataFrame(counts, columns=["options", "drawn", "hidden", "trees"]).set_index("options")

# %% [markdown]
# A metric graph puts every line where its minimum stands on a coordinate: here how far apart the
# ends of the chain are. Closed folds such as 4 and stretched ones such as 21 are almost equally
# low; they meet 6 kcal/mol up.

# %%
picture(landscape.disconnectivity_graph(lowest=30, metric="end-to-end", colour="hydrogen-bonds"))

# %% [markdown]
# ## At room temperature
#
# In the harmonic superposition approximation each minimum is a well with its own vibrations,
# quantised here. They come from a Hessian for each structure, about a second each, computed once
# and kept.

# %%
free = landscape.free_energies(300)
free.head(10).round(3)

# %% [markdown]
# Which minimum holds the molecule changes with temperature: the lowest is compact and stiff, and
# entropy favours open, loose ones. Two grains of salt: the wells are harmonic, which modes of
# 10 cm$^{-1}$ are not, and minima that the search has not met are missing.

# %%
import plotly.graph_objects as go

start = landscape.minimum_list[0].id
place = free["id"].tolist().index(start)
print(f"minimum {start}, lowest in energy: {100 * free['probability'][place]:.2g} % at 300 K")

temperatures = range(25, 601, 25)
shares = pd.DataFrame(
    {t: landscape.free_energies(t).set_index("id")["probability"] for t in temperatures}
)
most = shares.max(axis=1).nlargest(6).index
figure = go.Figure()
for name in most:
    figure.add_scatter(
        x=list(temperatures), y=shares.loc[name].to_list(), mode="lines", name=f"minimum {name}"
    )
figure.update_layout(
    template="simple_white",
    xaxis_title="temperature (K)",
    yaxis_title="probability",
    height=380,
    margin_t=20,
)
figure

# %% [markdown]
# What the change from well to well adds to the heat capacity is plain to see where vibrations are
# classical: alone, each well would have $3N - 6$ times $k_B$. The peaks are where the molecule
# leaves one set of minima for another.

# %%
from scipy import constants

curve = landscape.heat_capacity(range(20, 601, 5), quantum=False)
heat, kelvin = curve["heat capacity (cal/(mol K))"], curve["temperature (K)"]
well = constants.R / constants.calorie * (3 * landscape.molecule.n_atoms - 6)
figure = go.Figure(go.Scatter(x=kelvin.to_list(), y=(heat - well).to_list(), mode="lines"))
figure.update_layout(
    template="simple_white",
    xaxis_title="temperature (K)",
    yaxis_title="heat capacity above one well (cal/(mol K))",
    height=380,
    margin_t=20,
)
figure

# %% [markdown]
# The same graph of free energies. Energies of minima and of transition states now contain their
# vibrations; an estimate has none, and takes the mean of its two minima. Other minima are lowest
# now, and some of them were not among those that had to be connected. A link without a barrier is
# one whose transition state, without the loose mode, has no more free energy than a minimum beside
# it.

# %%
picture(landscape.disconnectivity_graph(free_energy_at=300, lowest=30, colour="radius-of-gyration"))

# %% [markdown]
# ## A path
#
# How does the chain unfold? From the global minimum to the most stretched minimum that verified
# transition states connect with it: mean first passage times there and back from rates by
# transition-state theory, and the path that a walk most likely takes, step by step.

# %%
import networkx as nx

verified = nx.Graph()
verified.add_nodes_from(landscape.graph)
for link in landscape.link_list:
    if link.verified and link.minima[0] != link.minima[1]:
        a, b = link.minima
        best = verified.get_edge_data(a, b, {"energy": link.energy})["energy"]
        verified.add_edge(a, b, energy=min(best, link.energy))

reached = nx.node_connected_component(verified, start)
stretched = folds[2].values
end = max(reached, key=lambda name: stretched[name])
print(f"from minimum {start} ({stretched[start]:.1f} Å) to {end} ({stretched[end]:.1f} Å)")
passage = None
if end == start:
    print("no transition state leads away from the global minimum yet: more attempts are needed")
else:
    passage = landscape.passage(start, end, 300)
    print("by", *passage["fastest path"][0])
passage if passage is None else passage.drop(columns="fastest path").round(2)

# %% [markdown]
# The energies along it, minimum by minimum and over the lowest transition state of each step.

# %%
path = passage["fastest path"][0] if passage is not None else [start]
steps = [(f"{path[0]}", landscape.relative(landscape.minimum(path[0]).energy))]
for a, b in nx.utils.pairwise(path):
    steps.append((f"{a} ‡ {b}", landscape.relative(verified.edges[a, b]["energy"])))
    steps.append((f"{b}", landscape.relative(landscape.minimum(b).energy)))
figure = go.Figure(
    go.Scatter(
        x=list(range(len(steps))),
        y=[energy for _, energy in steps],
        mode="lines+markers+text",
        text=[name for name, _ in steps],
        textposition=["bottom center", "top center"] * (len(path) - 1) + ["bottom center"],
        line={"shape": "spline", "smoothing": 0.6},
    )
)
figure.update_layout(
    template="simple_white",
    xaxis_visible=False,
    yaxis_title="energy above the global minimum (kcal/mol)",
    height=420,
    margin_t=20,
)
figure

# %%
minima.loc[list(path)]
