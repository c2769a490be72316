"""Linear layers that round in the same way for one structure and for several.

Structures are evaluated in company (`company`), and a search that was killed shall end as it would
have otherwise, whoever was beside whom. Products of matrices with 64 columns, or multiples of
that, keep the bits of a row whatever the number of rows, on the processors that were tried; those
with one column, or with two more than 64, do not, and are sums here.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

# GPUs would multiply matrices in TF32, whose force noise of 1e-3 eV/Å no minimiser can get below.
PRECISION = jax.lax.Precision.HIGHEST


def dense(features: int, name: str, use_bias: bool = True) -> nn.Dense:
    """A linear layer in full precision."""
    return nn.Dense(features, use_bias=use_bias, precision=PRECISION, name=name)


class One(nn.Module):
    """A linear layer with one output, (N, F) to (N,).

    A sum: how a product of matrices rounds a single column depends on the number of rows, and a
    structure would get other bits in company than alone.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], 1))
        return jnp.sum(x * kernel[:, 0], axis=-1) + self.param("bias", nn.initializers.zeros, (1,))


class Mix(nn.Module):
    """One linear layer of the features and the invariants of chi side by side; Eq. 26.

    As if by a square matrix of F + degrees, but its odd columns and rows are sums, for the same
    reason as in `One`.
    """

    @nn.compact
    def __call__(self, x: Array, invariants: Array) -> tuple[Array, Array]:
        width, few = x.shape[-1], invariants.shape[-1]
        init = nn.initializers.lecun_normal()
        kernel = self.param("kernel", init, (width + few, width + few))
        bias = self.param("bias", nn.initializers.zeros, (width + few,))

        mixed = jnp.dot(x, kernel[:width, :width], precision=PRECISION)
        added = jnp.sum(invariants[:, :, None] * kernel[width:], axis=1) + bias
        gates = jnp.sum(x[:, :, None] * kernel[:width, width:], axis=1)
        return mixed + added[:, :width], gates + added[:, width:]
