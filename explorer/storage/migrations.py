"""How a database of an earlier schema becomes one of today's, when it is opened.

Version 2 counts Hessian-vector products. Version 3 has minima and links without positions, as an
import may bring them. Version 4 keeps vibrations. Each step runs inside one transaction of the
caller.
"""

from __future__ import annotations

import json

import sqlalchemy as sa

from topokrates.storage import records

# With today's statements: a file that cannot be written is read as it is, without the tables that
# have come since.
READABLE = {2: {records.vibration.name}, 3: {records.vibration.name}}


def _count_products(connection: sa.Connection) -> None:
    """From version 1 to 2: what was spent before counts as none."""
    for table in (records.search, records.quench):
        connection.exec_driver_sql(
            f"ALTER TABLE {table.name} ADD COLUMN "
            "hessian_vector_products INTEGER NOT NULL DEFAULT 0"
        )
    _now(connection, 2)


def _free_positions(connection: sa.Connection) -> None:
    """From version 2 to 3. SQLite cannot drop a NOT NULL: a column without it takes the place."""
    for table in (records.minimum.name, records.link.name):
        for change in (
            f"ALTER TABLE {table} ADD COLUMN free_positions BLOB",
            f"UPDATE {table} SET free_positions = positions",
            f"ALTER TABLE {table} DROP COLUMN positions",
            f"ALTER TABLE {table} RENAME COLUMN free_positions TO positions",
        ):
            connection.exec_driver_sql(change)
    _now(connection, 3)


def _now(connection: sa.Connection, version: int) -> None:
    change = records.meta.update().where(records.meta.c.key == "schema_version")
    connection.execute(change.values(value=json.dumps(version)))


def _keep_vibrations(connection: sa.Connection) -> None:
    """From version 3 to 4: there were none before."""
    records.vibration.create(connection)
    _now(connection, 4)


STEPS = {1: _count_products, 2: _free_positions, 3: _keep_vibrations}  # in order
