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

from collections.abc import Sequence
from math import sqrt

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from topokrates.model import physics, radial
from topokrates.model.layout import Pairs, pairs_within
from topokrates.model.spherical import contract, degree_matrix, spherical_harmonics

# GPUs would multiply matrices in TF32, whose force noise of 1e-3 eV/Å no minimiser can get below.
PRECISION = jax.lax.Precision.HIGHEST
MAX_ATOMIC_NUMBER = 118


def _dense(features: int, name: str, use_bias: bool = True) -> nn.Dense:
    return nn.Dense(features, use_bias=use_bias, precision=PRECISION, name=name)


def _heads(x: Array, kernel: Array) -> Array:
    """Applies one small matrix per head: (N, F) with (H, D, D) to (N, H, D)."""
    heads, width, _ = kernel.shape
    x = x.reshape(x.shape[0], heads, width)
    return jnp.einsum("nhd,hde->nhe", x, kernel, precision=PRECISION)


class Filter(nn.Module):
    """Filters w_ij = MLP_radial(rbf(r_ij)) + MLP_spherical(c(chi_j - chi_i)); Eq. 20."""

    features: int

    @nn.compact
    def __call__(self, basis: Array, invariants: Array) -> Array:
        by_distance = nn.silu(_dense(self.features, "radial_0")(basis))
        by_direction = nn.silu(_dense(self.features // 4, "spherical_0")(invariants))
        by_distance = _dense(self.features, "radial_1")(by_distance)
        return by_distance + _dense(self.features, "spherical_1")(by_direction)


class Attention(nn.Module):
    """Euclidean attention: what neighbours add to x and to chi; Eqs. 15, 16 and 21.

    No softmax: a pair's weight does not depend on what other neighbours there are, so that the
    energy stays smooth when one enters or leaves the cutoff.
    """

    heads: int
    degrees: Sequence[int]
    message_norm: float | None

    @nn.compact
    def __call__(self, x, chi, pairs: Pairs, basis, harmonics, cut) -> tuple[Array, Array]:
        n, features = x.shape
        invariants = contract(pairs.sent(chi) - chi[:, None], self.degrees)

        def alpha(heads: int, kind: str) -> Array:  # (N, K, heads)
            width = features // heads
            shape = (heads, width, width)
            init = nn.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(0,))
            q = _heads(x, self.param(f"{kind}_query", init, shape))
            k = _heads(x, self.param(f"{kind}_key", init, shape))
            w = Filter(features, name=f"{kind}_filter")(basis, invariants)
            w = w.reshape(*w.shape[:-1], heads, width)
            norm = self.message_norm or sqrt(width)
            return jnp.sum(q[:, None] * w * pairs.sent(k), axis=-1) * (cut / norm)[..., None]

        width = features // self.heads
        init = nn.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(0,))
        kernel = self.param("feature_value", init, (self.heads, width, width))
        values = pairs.sent(_heads(x, kernel))
        dx = jnp.sum(alpha(self.heads, "feature")[..., None] * values, axis=1)
        per_order = alpha(len(self.degrees), "euclidean") @ jnp.asarray(
            degree_matrix(self.degrees), x.dtype
        )
        dchi = jnp.sum(per_order * harmonics, axis=1)
        return dx.reshape(n, features), dchi


class Layer(nn.Module):
    """Attention, then the interaction of the two streams on each atom; Eqs. 23 to 27."""

    heads: int
    degrees: Sequence[int]
    message_norm: float | None
    layer_norm: bool
    residual_mlp: bool

    @nn.compact
    def __call__(self, x, chi, pairs: Pairs, basis, harmonics, cut) -> tuple[Array, Array]:
        features = x.shape[-1]
        attention = Attention(self.heads, self.degrees, self.message_norm, name="attention")
        dx, dchi = attention(x, chi, pairs, basis, harmonics, cut)
        x, chi = x + dx, chi + dchi
        if self.layer_norm:
            x = nn.LayerNorm(epsilon=1e-6, name="norm_0")(x)
        if self.residual_mlp:
            x = x + Residual(features, name="mlp")(x)
        mixed = jnp.concatenate([x, contract(chi, self.degrees)], axis=-1)
        mixed = _dense(features + len(self.degrees), "interaction")(mixed)
        gate = mixed[:, features:] @ jnp.asarray(degree_matrix(self.degrees), x.dtype)
        x, chi = x + mixed[:, :features], chi + gate * chi
        if self.layer_norm:
            x = nn.LayerNorm(epsilon=1e-6, name="norm_1")(x)
        return x, chi


class Residual(nn.Module):
    """silu, linear, silu, linear: what is added to its own input."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = _dense(self.features, "linear_0")(nn.silu(x))
        return _dense(self.features, "linear_1")(nn.silu(x))


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
        x = _dense(self.features, "linear_0", use_bias=False)(nn.silu(embedded))
        return embedded + _dense(self.features, "linear_1", use_bias=False)(nn.silu(x))


class SO3krates(nn.Module):
    """The network; `__call__` gives the energy of one structure and what it is made of.

    Defaults are the journal's. Every attribute is stored in the header of a weights file.

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

    @nn.compact
    def __call__(
        self,
        numbers: Array,
        positions: Array,
        real: Array,
        charge: Array,
        unpaired: Array,
        long_range_cutoff: float | None = None,
        capacity: int | None = None,
    ) -> physics.Energies:
        """Energy of one structure.

        Args:
            numbers: atomic numbers, (N,); whatever stands at padding atoms is ignored.
            positions: (N, 3), Å.
            real: False for padding atoms, (N,).
            charge: total charge, e, a scalar.
            unpaired: number of unpaired electrons, a scalar.
            long_range_cutoff: Å for electrostatics and dispersion; None takes every pair.
            capacity: length of the neighbour list; None for the layout of all pairs.

        Returns:
            `Energies`, each in eV, with the charges (e) and Hirshfeld ratios behind them.
        """
        dtype = positions.dtype
        pairs = pairs_within(positions, real, self.cutoff, capacity)
        cut = radial.CUTOFFS[self.cutoff_function](pairs.distances, self.cutoff)
        cut = jnp.where(pairs.mask, cut, 0)
        if self.radial_basis == "bernstein":
            basis = radial.bernstein(pairs.distances, self.radial_functions, self.radial_gamma)
        else:
            basis = radial.physnet(pairs.distances, self.radial_functions, self.cutoff)
        harmonics = spherical_harmonics(pairs.vectors / pairs.distances[..., None], self.degrees)

        x = Elements(self.features, name="embedding")(numbers)
        parts = 1
        if self.embed_charge:
            embed = ChargeEmbedding(self.features, name="charge_embedding")
            x, parts = x + embed(numbers, real, charge), parts + 1
        if self.embed_spin:
            embed = ChargeEmbedding(self.features, name="spin_embedding")
            x, parts = x + embed(numbers, real, unpaired), parts + 1
        x = x / sqrt(parts)
        chi = jnp.zeros((len(numbers), sum(2 * degree + 1 for degree in self.degrees)), dtype)
        for i in range(self.layers):
            x, chi = Layer(
                self.heads,
                self.degrees,
                self.message_norm,
                self.layer_norm,
                self.residual_mlp,
                name=f"layer_{i}",
            )(x, chi, pairs, basis, harmonics, cut)

        atomic = EnergyHead(self.energy_hidden, self.energy_scale, name="energy")(x, numbers)
        energies = physics.Energies.of_network(jnp.sum(jnp.where(real, atomic, 0)), pairs.overflow)
        if self.zbl:
            repulsion = physics.Repulsion(name="repulsion")(numbers, pairs, cut)
            energies = energies._replace(repulsion=repulsion)
        if not (self.electrostatics or self.dispersion):
            return energies
        far = pairs_within(positions, real, long_range_cutoff)
        if self.electrostatics:
            charges = physics.Charges(self.energy_hidden, name="charges")(x, numbers, real, charge)
            energies = energies._replace(
                charges=charges,
                electrostatics=physics.coulomb(
                    charges, far, self.electrostatic_scale, long_range_cutoff
                ),
            )
        if self.dispersion:
            ratios = physics.HirshfeldRatios(self.energy_hidden, name="hirshfeld")(x, numbers, real)
            energies = energies._replace(
                hirshfeld_ratios=ratios,
                dispersion=physics.dispersion(
                    numbers,
                    ratios,
                    far,
                    self.dispersion_scale,
                    long_range_cutoff,
                    self.dispersion_damping,
                ),
            )
        return energies


class EnergyHead(nn.Module):
    """Atomic energies: linear, silu, linear, times a learned scale of the element; (N,), eV."""

    hidden: int
    scale: bool

    @nn.compact
    def __call__(self, x: Array, numbers: Array) -> Array:
        hidden = nn.silu(_dense(self.hidden, "hidden")(x))
        energies = _dense(1, "output")(hidden)[:, 0]
        if self.scale:
            ones = nn.initializers.ones
            energies = energies * self.param("scale", ones, (MAX_ATOMIC_NUMBER + 1,))[numbers]
        return energies
