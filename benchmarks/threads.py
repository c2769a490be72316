"""How many cores a benchmark may use."""

import os

NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PJRT_NPROC", "NPROC")


def limit(count: int) -> None:
    """Has numpy and jax, which are not loaded yet and read these when they are, use that many."""
    for name in NAMES:
        os.environ[name] = str(count)
