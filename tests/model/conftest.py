"""Labelled frames whose labels are known, for tests of training."""

from collections.abc import Callable

import numpy as np
import pytest

from topokrates.model.training import data

REFERENCES = {1: -13.6, 8: -2000.0}


@pytest.fixture(scope="session")
def reference_energies() -> dict[int, float]:
    """What elements add to the energies of `labelled`, eV."""
    return REFERENCES


@pytest.fixture(scope="session")
def labelled() -> Callable[..., list[data.Frame]]:
    """labelled(count, seed, sizes): frames of H and O with Morse bonds between all atoms."""
    return _labelled


@pytest.fixture(scope="session")
def save_npz() -> Callable[..., None]:
    """save_npz(path, frames, **changes): an npz of them, arrays replaced or (None) left out."""
    return _save_npz


@pytest.fixture(scope="session")
def frames() -> list[data.Frame]:
    return _labelled(17)


def _labelled(count, seed=0, sizes=(3, 5)):
    """Frames of H and O with Morse bonds between all atoms; eV and Å."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        n = sizes[k % len(sizes)]
        z = rng.choice([1, 8], n)
        x = np.array([[1.3 * i, 0, 0] for i in range(n)]) + rng.normal(0, 0.25, (n, 3))
        i, j = np.triu_indices(n, 1)
        d = x[j] - x[i]
        r = np.linalg.norm(d, axis=1)
        depth = 0.3 + 0.2 * (z[i] == z[j])
        e = np.exp(-1.5 * (r - 1.3))
        pull = (depth * 2 * 1.5 * (e - e**2))[:, None] * d / r[:, None]
        forces = np.zeros((n, 3))
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        energy = float(np.sum(depth * (e**2 - 2 * e))) + sum(REFERENCES[int(q)] for q in z)
        dipole = rng.normal(size=3) if k % 2 else None
        z = z.astype(np.int32)
        frames.append(data.Frame(z, x, energy, forces, dipole, 0, int(z.sum() % 2)))
    return frames


def _save_npz(path, frames, **changes):
    width = max(len(f.numbers) for f in frames)

    def padded(rows, shape=()):
        whole = np.zeros((len(rows), width, *shape))
        for k, row in enumerate(rows):
            whole[k, : len(row)] = row
        return whole

    arrays = {
        "z": padded([f.numbers for f in frames]).astype(int),
        "R": padded([f.positions for f in frames], (3,)),
        "F": padded([f.forces for f in frames], (3,)),
        "E": np.array([f.energy for f in frames]),
    }
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
