"""Force fields: arrays in, energies and forces out. Knows nothing of molecules or searches."""

import contextlib
import ctypes
import os

# XLA's loader of cached programs writes kilobytes about tuning flags that are no machine features.
# Only what is fatal is shown; errors reach Python as exceptions anyway. Read when jax is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax

# Certified minima need float64 Hessians (forces of 1e-4 eV/Å are below the noise of float32 on
# a soft mode), and jax hands out float32 unless told so before the first array is made. Every
# array of this package states its dtype, so that float32 work stays float32.
jax.config.update("jax_enable_x64", True)

# On a CPU two computations in flight at once can wait for each other's threads for ever (seen with
# batched linear solves, jax 0.10.1), so each ends before the next begins.
jax.config.update("jax_cpu_enable_async_dispatch", False)

# XLA takes its scratch memory from malloc and gives it back at each call. Beyond 128 KiB glibc asks
# the kernel for it anew, page by page: that was half of the time of 642 atoms, and a quarter of a
# Hessian-vector product of 42. Up to 1 GiB is kept instead.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
with contextlib.suppress(OSError, AttributeError):  # another C library has no mallopt
    for _parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
        ctypes.CDLL(None).mallopt(_parameter, 2**30)
