"""A landscape as a graph of networkx."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx

    from topokrates.landscape import Landscape


def multigraph(landscape: Landscape) -> nx.MultiGraph:
    """Minima as nodes and links as edges (key: id of the link), with their numbers."""
    import networkx as nx

    minima, links = landscape.contents()
    graph = nx.MultiGraph(name=landscape.molecule.name, energy_unit=landscape.energy_unit)
    for m in minima:
        graph.add_node(m.id, energy=m.energy, visits=m.visits)
    for link in links:
        graph.add_edge(*link.minima, key=link.id, energy=link.energy, verified=link.verified)
    return graph


def components(landscape: Landscape) -> int:
    """How many sets of minima verified links connect."""
    import networkx as nx

    minima, links = landscape.contents()
    graph = nx.Graph()
    graph.add_nodes_from(m.id for m in minima)
    graph.add_edges_from(link.minima for link in links if link.verified)
    return nx.number_connected_components(graph)
