"""Frames of dynamics as extxyz, appended as they come, cut back when a killed run goes on."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from topokrates.dynamics.integrators import State
from topokrates.model.errors import InputError


class Trajectory:
    """A file that frames are added to; info of each: replica, time, temperature.

    Args:
        path: of the file; None keeps nothing.
        length: bytes of it that a checkpoint knows of: what lies beyond is cut off.
        symbols: of the atoms, (N,).
        unit: of time.
    """

    def __init__(self, path: Path | None, length: int, symbols: Sequence[str], unit: str):
        self.path, self.symbols, self.unit = path, symbols, unit
        self.length = length
        if path is None:
            return
        try:
            if length and path.stat().st_size < length:
                raise InputError(f"{path} is shorter than when the run was stopped: it was changed")
            with path.open("r+b" if length else "wb") as file:
                file.truncate(length)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error

    def add(self, state: State, time: float, temperatures: np.ndarray) -> None:
        """The replicas that are alive, one frame each; on disk when this returns."""
        if self.path is None:
            return
        frames = []
        for lane in np.flatnonzero(state.alive):
            atoms = Atoms(self.symbols, state.positions[lane])
            atoms.info |= {
                "replica": int(lane),
                f"time_{self.unit}": round(time, 6),
                "temperature": round(float(temperatures[lane]), 3),
            }
            atoms.calc = SinglePointCalculator(
                atoms, energy=float(state.energies[lane]), forces=state.forces[lane]
            )
            frames.append(atoms)
        if not frames:
            return
        text = io.StringIO()
        write(text, frames, format="extxyz")
        data = text.getvalue().encode()
        try:
            with self.path.open("r+b") as file:
                file.seek(self.length)
                file.write(data)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror or error}") from error
        self.length += len(data)
