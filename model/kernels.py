"""What is compiled for a potential: its energy's gradients, and its Hessian times vectors.

Each takes `function(inputs, x, lists)`, the energy of one structure, and arrays; see `programs`.
"""

import jax
import jax.numpy as jnp


def energies_and_gradients(function, inputs, lists, positions):
    """Of structures (B, N, 3): energies (B,) and their gradients (B, N, 3)."""

    def energy(x, lists):
        return function(inputs, x, lists)

    gradient = jax.value_and_grad(energy)
    if len(positions) > 1:
        return jax.vmap(gradient)(positions, lists)
    # one lane alone: an axis of length 1 costs 16 of 537 kernels, for indices that name the lane
    found = gradient(positions[0], jax.tree.map(lambda leaf: leaf[0], lists))
    return jax.tree.map(lambda leaf: leaf[None], found)


def products(function, inputs, lists, positions, vectors):
    """Hessians of structures (B, N, 3) times a vector each, (B, N, 3)."""

    def product(x, v, lists):
        gradient = jax.grad(lambda y: function(inputs, y, lists))
        return jax.jvp(gradient, (x,), (v,))[1]

    return (jax.vmap(product)(positions, vectors, lists),)


def times_hessian(function, width, inputs, lists, x, directions, count):
    """The Hessian at x (N, 3) times the first `count` directions (M, N, 3), `width` at a time."""
    _, push = jax.linearize(jax.grad(lambda y: function(inputs, y, lists)), x)
    blocks = directions.reshape(-1, width, *x.shape)

    def push_block(k, products):
        return products.at[k].set(jax.vmap(push)(blocks[k]))

    products = jax.lax.fori_loop(0, -(-count // width), push_block, jnp.zeros_like(blocks))
    return products.reshape(directions.shape)
