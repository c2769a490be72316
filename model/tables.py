"""A network's parameters rearranged for evaluation: radial networks as tables.

What depends on a distance alone, or on a distance and two elements, is tabulated: see
`attention.py` for the arithmetic that is saved. Training needs the networks themselves; everything
else runs on what `compact` makes, in float64 with numpy and in a fraction of a second, from the
parameters that are stored.
"""

from typing import Any

import numpy as np

from topokrates.model import radial, splines
from topokrates.model.attention import norm

# Singular values of the radial networks below this part of the largest are left out. Forces of
# SO3LR then differ by less than 1e-7 eV/Å from those of the networks.
TOLERANCE = 1e-9
CLOSEST = 0.5  # Å: nearer than this atoms never come, and the tolerance is not kept
KINDS = ("feature", "euclidean")


def compact(
    params: dict[str, Any],
    architecture: dict[str, Any],
    elements: np.ndarray,
    embedded: np.ndarray,
    intervals: int = splines.INTERVALS,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Parameters for `so3krates.SO3krates(compact=True)`.

    Args:
        params: those of the network; they are not changed.
        architecture: its attributes.
        elements: atomic numbers that shall be known, (T,).
        embedded: features x that these start with, (T, F): they differ between molecules of
            different total charge or spin.
        intervals: of the splines, over the cutoff.
        tolerance: of the radial functions, relative to the largest.

    Returns:
        A tree of float64 arrays.
    """
    filters = _Filters(params, architecture)
    cutoff, layers = architecture["cutoff"], architecture["layers"]
    # the first layer is tabulated whole; the others share what their radial networks span
    later = list(range(1, layers))
    basis, maps = np.zeros((intervals + splines.DEGREE, 1)), {}
    if later:
        samples = np.linspace(CLOSEST, cutoff, intervals)
        together = np.hstack([filters.radial(layer, samples) for layer in later])
        _, values, directions = np.linalg.svd(together, full_matrices=False)
        directions = directions[values > tolerance * values[0]]

        def spanned(distances: np.ndarray) -> np.ndarray:
            radials = [filters.radial(layer, distances) for layer in later]
            return np.hstack(radials) @ directions.T

        basis = splines.interpolate(spanned, cutoff, intervals)
        maps = dict(zip(later, np.split(directions, len(later), axis=1), strict=True))

    tree = _as_float64(dict(params))
    rows = np.zeros(int(max(elements)) + 1, np.int32)
    rows[elements] = np.arange(len(elements))
    tree |= {"radial_table": basis, "kinds": rows}
    for layer in range(layers):
        rest = {k: leaf for k, leaf in tree[f"layer_{layer}"].items() if k != "attention"}
        attention = (
            filters.attention(layer, maps[layer])
            if layer
            else filters.first_attention(embedded, intervals)
        )
        tree[f"layer_{layer}"] = rest | {"attention": attention}
    return tree


class _Filters:
    """The filters of a network, in float64."""

    def __init__(self, params: dict[str, Any], architecture: dict[str, Any]):
        self.architecture = architecture
        self.layers = [
            _as_float64(params[f"layer_{i}"]["attention"]) for i in range(architecture["layers"])
        ]

    def radial(self, layer: int, distances: np.ndarray) -> np.ndarray:
        """Both radial networks of a layer, without the last bias: (M,) to (M, 2F)."""
        a = self.architecture
        if a["radial_basis"] == "bernstein":
            basis = radial.bernstein(distances, a["radial_functions"], a["radial_gamma"], np)
        else:
            basis = radial.physnet(distances, a["radial_functions"], a["cutoff"], np)
        nets = [self.layers[layer][f"{kind}_filter"] for kind in KINDS]
        hidden = [_silu(_linear(np.asarray(basis), net["radial_0"])) for net in nets]
        return np.hstack(
            [h @ net["radial_1"]["kernel"] for h, net in zip(hidden, nets, strict=True)]
        )

    def attention(self, layer: int, radial_map: np.ndarray) -> dict[str, Any]:
        """Parameters of a `CompactAttention`."""
        attention, a = self.layers[layer], self.architecture
        features = a["features"]
        parameters: dict[str, Any] = {}
        for i, kind in enumerate(KINDS):
            net, query = attention[f"{kind}_filter"], attention[f"{kind}_query"]
            own = radial_map[:, i * features : (i + 1) * features]
            parameters[f"{kind}_spherical"] = net["spherical_0"]
            parameters[f"{kind}_radial"] = {"kernel": own}
            parameters[f"{kind}_filter"] = {
                "kernel": net["spherical_1"]["kernel"],
                "bias": net["spherical_1"]["bias"] + net["radial_1"]["bias"],
            }
            query = query / norm(a["message_norm"], features, len(query))
            parameters[f"{kind}_query"] = _one_matrix(query)
            parameters[f"{kind}_key"] = _one_matrix(attention[f"{kind}_key"])
        return parameters | {"feature_value": _one_matrix(attention["feature_value"])}

    def first_attention(self, embedded: np.ndarray, intervals: int) -> dict[str, Any]:
        """Parameters of a `FirstAttention`; embedded is x of each kind of atom, (T, F)."""
        attention, a = self.layers[0], self.architecture
        features, kinds = a["features"], len(embedded)
        table = splines.interpolate(lambda r: self.radial(0, r), a["cutoff"], intervals)
        alphas = []
        for i, kind in enumerate(KINDS):
            net, query = attention[f"{kind}_filter"], attention[f"{kind}_query"]
            heads = len(query)
            constant = _linear(_silu(net["spherical_0"]["bias"]), net["spherical_1"])
            constant = constant + net["radial_1"]["bias"]
            w = table[:, i * features : (i + 1) * features] + constant
            x = embedded.reshape(kinds, heads, -1)
            q = np.einsum("ahd,hde->ahe", x, query) / norm(a["message_norm"], features, heads)
            k = np.einsum("ahd,hde->ahe", x, attention[f"{kind}_key"])
            products = q[:, None] * k[None]
            alphas.append(
                np.einsum("abhd,khd->abkh", products, w.reshape(len(w), heads, -1), optimize=True)
            )
        forth = np.concatenate(alphas, axis=-1)
        # what the sender gets: the roles of the two elements exchanged
        pair_table = np.concatenate([forth, forth.transpose(1, 0, 2, 3)], axis=-1)
        return {
            "pair_table": pair_table,
            "feature_value": _one_matrix(attention["feature_value"]),
        }


def _one_matrix(kernel: np.ndarray) -> dict[str, np.ndarray]:
    """A linear layer for per-head matrices (heads, D, D).

    One product of matrices is faster than a small one per head, zeros and all.
    """
    heads, width, _ = kernel.shape
    full = np.zeros((heads, width, heads, width))
    full[np.arange(heads), :, np.arange(heads)] = kernel
    return {"kernel": full.reshape(heads * width, heads * width)}


def _as_float64(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _as_float64(branch) for name, branch in tree.items()}
    return np.asarray(tree, np.float64)


def _linear(x: np.ndarray, layer: dict[str, np.ndarray]) -> np.ndarray:
    return x @ layer["kernel"] + layer["bias"]


def _silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))
