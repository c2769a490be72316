"""The rows of a landscape database: its tables, and the records that are read from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from topokrates.model.errors import InputError


class Coordinates(sa.TypeDecorator):
    """(N, 3) float64, or None, as raw little-endian bytes; read back as a read-only array."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else np.ascontiguousarray(value, dtype="<f8").tobytes()

    def process_result_value(self, value, dialect):
        return None if value is None else np.frombuffer(value, dtype="<f8").reshape(-1, 3)


class Numbers(sa.TypeDecorator):
    """(K,) float64 as raw little-endian bytes; read back as a read-only array."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value, dialect):
        return None if value is None else np.ascontiguousarray(value, dtype="<f8").tobytes()

    def process_result_value(self, value, dialect):
        return None if value is None else np.frombuffer(value, dtype="<f8")


schema = sa.MetaData()
meta = sa.Table(
    "meta",
    schema,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
minimum = sa.Table(
    "minimum",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("energy", sa.Float, nullable=False),
    sa.Column("positions", Coordinates),
    sa.Column("max_force", sa.Float),
    sa.Column("lowest_eigenvalue", sa.Float),
    sa.Column("visits", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)
link = sa.Table(
    "link",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("a", sa.ForeignKey("minimum.id"), nullable=False),
    sa.Column("b", sa.ForeignKey("minimum.id"), nullable=False),
    sa.Column("energy", sa.Float, nullable=False),
    sa.Column("positions", Coordinates),
    sa.Column("verified", sa.Boolean, nullable=False),
    sa.Column("max_force", sa.Float),
    sa.Column("negative_eigenvalues", sa.Integer),
    sa.Column("lowest_eigenvalue", sa.Float),
    sqlite_autoincrement=True,  # an id is never given twice: an estimate that is replaced is gone
)
search = sa.Table(
    "search",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("key", sa.String, nullable=False, unique=True),
    sa.Column("settings", sa.JSON, nullable=False),
    sa.Column("step", sa.Integer, nullable=False, default=0),
    sa.Column("done", sa.Integer, nullable=False, default=0),
    sa.Column("target", sa.Integer, nullable=False, default=0),
    sa.Column("gradient_calls", sa.Integer, nullable=False, default=0),
    sa.Column("hessian_vector_products", sa.Integer, nullable=False, server_default="0"),
    sa.Column("state", sa.LargeBinary),
)
quench = sa.Table(
    "quench",
    schema,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("search", sa.ForeignKey("search.id"), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("walker", sa.Integer, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("energy", sa.Float),
    sa.Column("positions", Coordinates),
    sa.Column("gradient_calls", sa.Integer, nullable=False),
    sa.Column("hessian_vector_products", sa.Integer, nullable=False, server_default="0"),
    sa.Column("minimum", sa.ForeignKey("minimum.id")),
    sa.UniqueConstraint("search", "step", "walker"),
)
CONNECTING = "connect"  # the key under which the search for transition states is kept

attempt = sa.Table(
    "attempt",
    schema,
    sa.Column("a", sa.ForeignKey("minimum.id"), primary_key=True),
    sa.Column("b", sa.ForeignKey("minimum.id"), primary_key=True),
    sa.Column("strategy", sa.String, primary_key=True),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
)
vibration = sa.Table(
    "vibration",
    schema,
    sa.Column("kind", sa.String, primary_key=True),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("frequencies", Numbers, nullable=False),
    sa.Column("moments", Numbers, nullable=False),
    sa.Column("symbol", sa.String, nullable=False),
    sa.Column("group_order", sa.Integer, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("chiral", sa.Boolean, nullable=False),
)


@dataclass(frozen=True, eq=False)
class Minimum:
    """A minimum as stored: energy (eV or epsilon), positions (N, 3) (Å or sigma).

    Positions are None where an import had none; force and eigenvalue where it is not certified.
    """

    id: int
    energy: float
    positions: np.ndarray | None
    max_force: float | None
    lowest_eigenvalue: float | None
    visits: int


@dataclass(frozen=True, eq=False)
class Link:
    """What connects two minima (ids in ascending order; equal for a degenerate rearrangement).

    `verified` means a transition state proven by its Hessian and by quenches down both sides;
    otherwise the energy is an estimate, an upper bound of the barrier. Positions are None where an
    import had none.
    """

    id: int
    minima: tuple[int, int]
    energy: float
    positions: np.ndarray | None
    verified: bool
    max_force: float | None = None
    negative_eigenvalues: int | None = None
    lowest_eigenvalue: float | None = None


def located(row: Minimum | Link) -> np.ndarray:
    """Its positions (N, 3). Raises InputError where an import brought none."""
    if row.positions is None:
        what = "minimum" if isinstance(row, Minimum) else "link"
        raise InputError(
            f"{what} {row.id} has no positions: it was imported without, and this needs them"
        )
    return row.positions


def finite(value: float | None) -> float | None:
    """A number as a column takes it: None for what is not finite."""
    return None if value is None or not np.isfinite(value) else float(value)


class SearchRecord(NamedTuple):
    """One search: its settings, how far it came, and what it needs to go on (`state`)."""

    id: int
    key: str
    settings: dict[str, Any]
    step: int
    done: int
    target: int
    gradient_calls: int
    hessian_vector_products: int
    state: bytes | None


class QuenchRecord(NamedTuple):
    """One quench of a search; `minimum` is None where no minimum was accepted."""

    step: int
    walker: int
    status: str
    energy: float | None
    positions: np.ndarray | None
    gradient_calls: int
    minimum: int | None
    hessian_vector_products: int = 0


class AttemptRecord(NamedTuple):
    """The last outcome of connecting a pair by one strategy, and how often it was tried."""

    minima: tuple[int, int]
    strategy: str
    outcome: str
    times: int


class VibrationRecord(NamedTuple):
    """The harmonic modes of a "minimum" or "link", and its point group.

    Frequencies (K,) ascending and moments of inertia (3,) as in
    `topokrates.analysis.vibrations.Vibrations`; the group as in
    `topokrates.analysis.point_group.PointGroup`, its order as `group_order`.
    """

    kind: str
    id: int
    frequencies: np.ndarray
    moments: np.ndarray
    symbol: str
    group_order: int
    number: int
    chiral: bool
