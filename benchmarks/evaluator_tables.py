"""The tables that `evaluator.py` prints."""

import argparse
from typing import Any

from networks import NAMES
from tables import table


def main_table(name: str, sizes: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """Every measurement of one network; ms per structure are medians."""
    header = ["program", "atoms", "edges", "batch", "ms/structure", "least", "µs/atom"]
    header += ["products", "copies"]
    rows = []
    for size in sizes:
        ours = [(f"ours, {row['layout']}", row) for row in size["ours"]]
        theirs = [(f"so3krates-torch, {row['model']}", row) for row in size["peer"]]
        for program, row in ours + theirs:
            rows.append(
                [
                    program,
                    size["atoms"],
                    size["edges"],
                    row["batch"],
                    1e3 * row["median"],
                    1e3 * row["least"],
                    1e6 * row["median"] / size["atoms"],
                    f"{100 * row['of_matrix_products']:.0f} %",
                    f"{100 * row['of_copies']:.0f} %",
                ]
            )
    title = (
        f"{NAMES[name]}, float32, {options.shape}: median of {options.repetitions};"
        " share of the measured rates of matrix products and copies that the plain layout's"
        " count would need"
    )
    return f"{title}\n\n{table(header, rows)}"


def best_table(measured: dict[str, list[dict[str, Any]]]) -> str:
    """Each program at its own best batch, and how many times faster ours is."""
    header = [
        "network",
        "atoms",
        "ours, ms/structure",
        "layout, batch",
        "limit, ms",
        "first call, s",
    ]
    header += ["so3krates-torch, ms", "batch", "ratio", "compiled, ms", "batch", "ratio"]
    rows = []
    for name, sizes in measured.items():
        for size in sizes:
            ours = min(size["ours"], key=lambda row: row["median"])
            row = [
                NAMES[name],
                size["atoms"],
                1e3 * ours["median"],
                f"{ours['layout']}, {ours['batch']}",
                1e3 * size["least_time"],
                size["first_call"][ours["layout"]],
            ]
            for model in ("eager", "compiled"):
                theirs = [r for r in size["peer"] if r["model"] == model]
                if not theirs:
                    row += [None] * 3
                    continue
                best = min(theirs, key=lambda r: r["median"])
                row += [1e3 * best["median"], best["batch"], best["median"] / ours["median"]]
            rows.append(row)
    title = "Each at its own best batch; limit: the plain layout's count at the measured rates"
    return f"{title}\n\n{table(header, rows)}"


def precision_table(rows: list[dict[str, Any]]) -> str:
    """Force noise; a minimiser to 1e-3 eV/Å gets along with 3e-4, a polish to 1e-4 does not."""
    header = ["network", "atoms", "arithmetic", "largest, eV/Å", "root mean square, eV/Å"]
    cells = [
        [
            NAMES[row["network"]],
            row["atoms"],
            row["arithmetic"],
            f"{row['largest']:.1e}",
            f"{row['root_mean_square']:.1e}",
        ]
        for row in rows
    ]
    return f"Error of forces against float64 without tables\n\n{table(header, cells)}"
