"""SO3krates: a Euclidean transformer without tensor products.

Two streams per atom: invariant features x (F channels) and Euclidean variables chi (one number
per degree and order, no degree 0). Attention weights are made of invariants alone, among them the
scalar contraction of chi_j - chi_i; they scale features on one side and spherical harmonics of the
neighbours' directions on the other, so rotating a molecule rotates chi and leaves x as it is.

Frank, Unke, Müller, Chmiela, Nat. Commun. 15, 6539 (2024), equations 10 to 27. One module holds
the journal's network (the defaults) and SO3LR's (Kabylda, Frank et al., 2025), which differ in
configuration only: layer norms, residual networks, embeddings of charge and spin, and the physics
of `physics.py` on top.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from topokrates.model import physics, radial, splines
from topokrates.model.attention import (
    Attention,
    CompactAttention,
    FirstAttention,
    Geometry,
    per_order,
)
from topokrates.model.layout import Edges, Pairs, Rows, pairs_within
from topokrates.model.linear import PRECISION, Mix, One, dense
from topokrates.model.spherical import contract, spherical_harmonics

MAX_ATOMIC_NUMBER = 118


class Layer(nn.Module):
    """Attention, then the interaction of the two streams on each atom; Eqs. 23 to 27."""

    attention: nn.Module
    degrees: Sequence[int]
    layer_norm: bool
    residual_mlp: bool

    @nn.compact
    def __call__(self, x: Array, chi: Array | None, geometry: Geometry) -> tuple[Array, Array]:
        features = x.shape[-1]
        dx, dchi = self.attention(x, chi, geometry)
        x = x + dx
        # in the first layer it is still zero, and nothing is spent on that
        chi = dchi if chi is None else chi + dchi
        assert chi is not None
        if self.layer_norm:
            x = nn.LayerNorm(epsilon=1e-6, name="norm_0")(x)
        if self.residual_mlp:
            x = x + Residual(features, name="mlp")(x)
        mixed, gates = Mix(name="interaction")(x, contract(chi, self.degrees))
        x, chi = x + mixed, chi + per_order(gates, self.degrees) * chi
        if self.layer_norm:
            x = nn.LayerNorm(epsilon=1e-6, name="norm_1")(x)
        return x, chi


class Residual(nn.Module):
    """silu, linear, silu, linear: what is added to its own input."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = dense(self.features, "linear_0")(nn.silu(x))
        return dense(self.features, "linear_1")(nn.silu(x))


class Elements(nn.Module):
    """One vector per element: (N,) atomic numbers to (N, F)."""

    features: int

    @nn.compact
    def __call__(self, numbers: Array) -> Array:
        init = nn.initializers.normal(1 / sqrt(self.features))
        return self.param("elements", init, (MAX_ATOMIC_NUMBER + 1, self.features))[numbers]


class ChargeEmbedding(nn.Module):
    """Shares a total charge, or a number of unpaired electrons, among the atoms.

    Unke et al., Nat. Commun. 12, 7273 (2021), Eqs. 10 and 11. Exactly zero when psi is.
    """

    features: int

    @nn.compact
    def __call__(self, numbers: Array, real: Array, psi: Array) -> Array:
        init = nn.initializers.normal(1 / sqrt(self.features))
        query = self.param("elements", init, (MAX_ATOMIC_NUMBER + 1, self.features))[numbers]
        sign = jnp.where(psi < 0, 1, 0)  # row 0 serves what is positive, row 1 what is negative
        key = self.param("key", init, (2, self.features))[sign]
        value = self.param("value", init, (2, self.features))[sign]
        logits = jnp.dot(query, key, precision=PRECISION) / sqrt(self.features)
        share = jnp.where(real, nn.softplus(logits), 0)
        share = psi.astype(share.dtype) * share / (jnp.sum(share) + 1e-6)
        embedded = share[:, None] * value
        x = dense(self.features, "linear_0", use_bias=False)(nn.silu(embedded))
        return embedded + dense(self.features, "linear_1", use_bias=False)(nn.silu(x))


class SO3krates(nn.Module):
    """The network; `__call__` gives the energy of one structure and what it is made of.

    Defaults are the journal's. Every attribute but the last two is stored in the header of a
    weights file.

    Attributes:
        features: F, width of the invariant features.
        layers: number of layers.
        heads: H, heads of the feature attention; the Euclidean one has a head per degree.
        degrees: of the Euclidean variables.
        cutoff: Å.
        radial_functions: number of radial functions.
        radial_basis: "physnet" or "bernstein".
        radial_gamma: decay of the Bernstein basis, 1/Å.
        cutoff_function: "cosine" or "polynomial".
        message_norm: divisor of the messages; None for sqrt(F / heads).
        layer_norm, residual_mlp: SO3LR's additions to a layer.
        embed_charge, embed_spin: whether total charge and spin are embedded.
        energy_hidden: width of the energy head.
        energy_scale: whether each element scales its energies.
        zbl, electrostatics, dispersion: SO3LR's physics.
        electrostatic_scale: width of the smeared charges, Å.
        dispersion_scale: scale of the damping radius.
        dispersion_damping: Å before a long-range cutoff over which dispersion is switched off.
        compact: takes the parameters that `tables.compact` makes; a way to evaluate, not a
            property of the network.
        intervals: of a grid on which the radial networks are evaluated, with splines between, as
            is fast where the network changes with every step; None evaluates them where the pairs
            are. Also no property of the network.
    """

    features: int = 132
    layers: int = 3
    heads: int = 4
    degrees: Sequence[int] = (1, 2, 3)
    cutoff: float = 5.0
    radial_functions: int = 32
    radial_basis: str = "physnet"
    radial_gamma: float = 0.9448630629184640
    cutoff_function: str = "cosine"
    message_norm: float | None = None
    layer_norm: bool = False
    residual_mlp: bool = False
    embed_charge: bool = False
    embed_spin: bool = False
    energy_hidden: int = 132
    energy_scale: bool = False
    zbl: bool = False
    electrostatics: bool = False
    dispersion: bool = False
    electrostatic_scale: float = 4.0
    dispersion_scale: float = 1.2
    dispersion_damping: float = 2.0
    compact: bool = False
    intervals: int | None = None

    @nn.compact
    def __call__(
        self,
        numbers: Array,
        positions: Array,
        real: Array,
        charge: Array,
        unpaired: Array,
        long_range_cutoff: float | None = None,
        near: Edges | Rows | None = None,
        far: Edges | Rows | None = None,
    ) -> physics.Energies:
        """Energy of one structure.

        Args:
            numbers: atomic numbers, (N,); whatever stands at padding atoms is ignored.
            positions: (N, 3), Å.
            real: False for padding atoms, (N,).
            charge: total charge, e, a scalar.
            unpaired: number of unpaired electrons, a scalar.
            long_range_cutoff: Å for electrostatics and dispersion; None takes every pair.
            near: the pairs within the network's cutoff, or more; None for all pairs.
            far: those within the long-range cutoff, or more; None for all pairs.

        Returns:
            `Energies`, each in eV, with the charges (e) and Hirshfeld ratios behind them.
        """
        pairs = pairs_within(positions, real, self.cutoff, near)
        # Features that all lanes share would be multiplied once for all, which rounds differently
        numbers = numbers + pairs.nothing
        x = Elements(self.features, name="embedding")(numbers)
        parts = 1
        if self.embed_charge:
            embed = ChargeEmbedding(self.features, name="charge_embedding")
            x, parts = x + embed(numbers, real, charge), parts + 1
        if self.embed_spin:
            embed = ChargeEmbedding(self.features, name="spin_embedding")
            x, parts = x + embed(numbers, real, unpaired), parts + 1
        x = x / sqrt(parts)
        chi, geometry = None, self._geometry(pairs, numbers)
        for i in range(self.layers):
            attention = self._attention(first=i == 0)
            name = f"layer_{i}"
            layer = Layer(attention, self.degrees, self.layer_norm, self.residual_mlp, name=name)
            x, chi = layer(x, chi, geometry)

        atomic = EnergyHead(self.energy_hidden, self.energy_scale, name="energy")(x, numbers)
        energies = physics.Energies.of_network(jnp.sum(jnp.where(real, atomic, 0)))
        if self.zbl:
            repulsion = physics.Repulsion(name="repulsion")(numbers, pairs, geometry.cut)
            energies = energies._replace(repulsion=repulsion)
        if not (self.electrostatics or self.dispersion):
            return energies
        others = pairs_within(positions, real, long_range_cutoff, far)
        if self.electrostatics:
            charges = physics.Charges(self.energy_hidden, name="charges")(x, numbers, real, charge)
            energies = energies._replace(
                charges=charges,
                electrostatics=physics.coulomb(
                    charges, others, self.electrostatic_scale, long_range_cutoff
                ),
            )
        if self.dispersion:
            ratios = physics.HirshfeldRatios(self.energy_hidden, name="hirshfeld")(x, numbers, real)
            energies = energies._replace(
                hirshfeld_ratios=ratios,
                dispersion=physics.dispersion(
                    numbers,
                    ratios,
                    others,
                    self.dispersion_scale,
                    long_range_cutoff,
                    self.dispersion_damping,
                ),
            )
        return energies

    def _geometry(self, pairs: Pairs, numbers: Array) -> Geometry:
        cut = radial.CUTOFFS[self.cutoff_function](pairs.distances, self.cutoff)
        cut = jnp.where(pairs.mask, cut, 0)
        harmonics = spherical_harmonics(pairs.vectors / pairs.distances[..., None], self.degrees)
        if self.compact:
            kinds = self.get_variable("params", "kinds")[numbers]
            table = self.get_variable("params", "radial_table")
            basis = splines.read(pairs.distances, table, self.cutoff, pairs.nothing)
            return Geometry(pairs, harmonics, cut, basis, kinds)
        distances, end = pairs.distances, None
        if self.intervals is not None:
            end = self.cutoff
            distances = jnp.asarray(splines.grid(end, self.intervals), distances.dtype)
        if self.radial_basis == "bernstein":
            basis = radial.bernstein(distances, self.radial_functions, self.radial_gamma)
        else:
            basis = radial.physnet(distances, self.radial_functions, self.cutoff)
        return Geometry(pairs, harmonics, cut, basis, None, end)

    def _attention(self, first: bool) -> nn.Module:
        if not self.compact:
            return Attention(self.heads, self.degrees, self.message_norm, parent=None)
        if first:
            return FirstAttention(self.heads, self.degrees, self.cutoff, parent=None)
        return CompactAttention(self.heads, self.degrees, self.message_norm, parent=None)


def initial_features(
    architecture: Mapping[str, Any],
    params: Mapping[str, Any],
    numbers: np.ndarray,
    charge: float,
    unpaired: float,
) -> np.ndarray:
    """Features x of the atoms before the first layer, in float64.

    Args:
        architecture: attributes of a `SO3krates`.
        params: its parameters.
        numbers: atomic numbers of a molecule, (N,).
        charge: its total charge, e.
        unpaired: its number of unpaired electrons.

    Returns:
        (N, F). Atoms of one element have the same.
    """
    width = architecture["features"]
    x = np.asarray(params["embedding"]["elements"], np.float64)[numbers]
    parts = 1
    for name, psi in (("charge", charge), ("spin", unpaired)):
        if not architecture[f"embed_{name}"]:
            continue
        parts += 1
        if psi:  # exactly zero otherwise
            embedding = jax.tree.map(np.float64, params[f"{name}_embedding"])
            real = np.ones(len(numbers), bool)
            embed = ChargeEmbedding(width).apply
            x = x + np.asarray(embed({"params": embedding}, numbers, real, np.float64(psi)))
    return x / sqrt(parts)


class EnergyHead(nn.Module):
    """Atomic energies: linear, silu, linear, times a learned scale of the element; (N,), eV."""

    hidden: int
    scale: bool

    @nn.compact
    def __call__(self, x: Array, numbers: Array) -> Array:
        hidden = nn.silu(dense(self.hidden, "hidden")(x))
        energies = One(name="output")(hidden)
        if self.scale:
            ones = nn.initializers.ones
            energies = energies * self.param("scale", ones, (MAX_ATOMIC_NUMBER + 1,))[numbers]
        return energies
