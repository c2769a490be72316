"""What the device can do: matrix products and memory copies, measured in the same run.

And what an evaluation asks for, so that its time can be set against the device's limit. The count
is that of the plain layout of edges: every directed edge within the cutoff passes through two
filter nets per layer, forwards and backwards, and its tensors are written and read once.
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np

# Per directed edge, energy and forces, F 128, L 3, plain layout (counted by XLA on that layout).
FLOPS_PER_EDGE, BYTES_PER_EDGE = 1.1e6, 0.21e6
REFERENCE_WIDTH, REFERENCE_LAYERS = 128, 3
SIDE = {"cpu": 2048, "gpu": 8192}  # of the square matrices multiplied
COPIED = {"cpu": 2**26, "gpu": 2**29}  # float32 numbers copied: far more than any cache holds


class Limits(NamedTuple):
    """Measured rates: matrix products in float32 at the highest precision, and copies."""

    flops: float  # 1/s
    bytes: float  # 1/s, read and written together


class Work(NamedTuple):
    """What one evaluation of a structure asks for."""

    flops: float
    bytes: float

    def least_time(self, limits: Limits) -> float:
        """Seconds that the device needs at least, at the measured rates."""
        return max(self.flops / limits.flops, self.bytes / limits.bytes)


def measure(device: Any, repetitions: int = 10) -> Limits:
    """Rates of a jax device, each the best of some repetitions."""
    import jax
    import jax.numpy as jnp

    kind = "cpu" if device.platform == "cpu" else "gpu"
    with jax.default_device(device):
        a = jnp.ones((SIDE[kind], SIDE[kind]), jnp.float32)
        multiply = jax.jit(lambda a: jnp.dot(a, a, precision=jax.lax.Precision.HIGHEST))
        flops = 2 * SIDE[kind] ** 3 / _best(lambda: multiply(a).block_until_ready(), repetitions)
        held = [jnp.ones(COPIED[kind], jnp.float32)]
        # written where it was read: fresh memory would be timed as it is handed out
        negate = jax.jit(lambda b: -b, donate_argnums=0)

        def copy() -> None:
            held.append(negate(held.pop()).block_until_ready())

        moved = 2 * held[0].nbytes / _best(copy, repetitions)
    return Limits(flops, moved)


def _best(call: Callable[[], Any], repetitions: int) -> float:
    call()
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def edges(positions: np.ndarray, cutoff: float) -> int:
    """Directed pairs of a structure (N, 3) closer than the cutoff."""
    close = sum(int(np.sum(np.sum((positions - x) ** 2, axis=1) < cutoff**2)) for x in positions)
    return close - len(positions)


def plain_work(architecture: dict[str, Any], positions: np.ndarray) -> Work:
    """The plain layout's count, scaled with layers and width from F 128 and L 3."""
    count = edges(positions, architecture["cutoff"])
    width = architecture["features"] / REFERENCE_WIDTH
    layers = architecture["layers"] / REFERENCE_LAYERS
    return Work(count * FLOPS_PER_EDGE * width**2 * layers, count * BYTES_PER_EDGE * width * layers)


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def median_and_least(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), min(times)


# --- what a table of results must say of itself -------------------------------------------------


def description(device: Any, threads: int | None) -> dict[str, Any]:
    """Date, command, machine and versions, ready for JSON."""
    packages = ("topokrates", "jax", "jaxlib", "flax", "numpy", "ase", "sella")
    versions = {name: v for name in packages if (v := _version(name)) is not None}
    return {
        "date": date.today().isoformat(),
        "command": "python " + " ".join(["benchmarks/" + os.path.basename(sys.argv[0]), *_said()]),
        "device": getattr(device, "device_kind", str(device)) if device is not None else "cpu",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "versions": versions,
    }


def _said() -> list[str]:
    """The command line without the folders of this machine."""
    return [os.path.basename(word) if os.sep in word else word for word in sys.argv[1:]]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            ]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def headline(about: dict[str, Any], **extra: Any) -> str:
    """What stands above the tables."""
    versions = ", ".join(f"{name} {v}" for name, v in about["versions"].items())
    threads = "all" if about["threads"] is None else about["threads"]
    lines = [
        f"{about['date']}: {about['command']}",
        f"device {about['device']}; {about['processor']}, {about['cores']} cores, threads used:"
        f" {threads}, load at the start {about['load']}",
        f"python {about['python']}, {versions}",
    ]
    return "\n".join(lines + [f"{key}: {value}" for key, value in extra.items()])
