"""`topokrates thermo` and `topokrates rates`: options, and what is printed.

As in `cli`, only typer is imported at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from topokrates.cli.options import All, Database, Json, number, real

if TYPE_CHECKING:
    import pandas as pd

    from topokrates.landscape import Landscape

ROWS = 50  # of a table, unless all are asked for
MANY = 100_000  # temperatures
DEFAULT = {True: "0.2", False: "300"}  # temperature, of a cluster or a molecule

Temperatures = Annotated[
    str | None,
    typer.Option(
        metavar="T|T,T|FROM:TO:STEP",
        help="In K (epsilon/k_B for LJ): of one, free energies and probabilities of the minima; of"
        " several, the heat capacity curve. [default: 300 K; 0.2 epsilon/k_B]",
    ),
]
Temperature = Annotated[
    float | None, real("In K (epsilon/k_B for LJ). [default: 300 K; 0.2 epsilon/k_B]", "T")
]
Classical = Annotated[
    bool, typer.Option("--classical", help="Vibrations without quanta, as those of LJ always are.")
]
Rotation = Annotated[
    bool, typer.Option("--rotation", help="Structures turn freely, as rigid rotors.")
]
OfLinks = Annotated[
    bool, typer.Option("--transition-states", help="Free energies of transition states, too.")
]
Source = Annotated[int | None, number("A minimum: times from here,", "--from")]
Target = Annotated[int | None, number("to here, and back; and the fastest path.", "--to")]
Threshold = Annotated[
    float | None,
    real(
        "Minima with free-energy barriers up to this become one group (epsilon for LJ).", "KCAL/MOL"
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|FILE",
        help="Where the model is, if its name in the database does not lead to it.",
    ),
]
FreeEnergyAt = Annotated[
    float | None,
    real("Draw free energies at this temperature, in K (epsilon/k_B for LJ).", "T"),
]


def thermo(
    database: Database,
    temperatures: Temperatures = None,
    transition_states: OfLinks = False,
    classical: Classical = False,
    rotation: Rotation = False,
    model: Weights = None,
    everything: All = False,
    as_json: Json = False,
) -> int:
    """Free energies, probabilities and heat capacity, from harmonic vibrations.

    Frequencies that the database lacks are computed once and kept in it.
    """
    from topokrates.analysis import tables
    from topokrates.landscape import Landscape
    from topokrates.model.errors import InputError

    options = {"quantum": False if classical else None, "rotation": rotation}
    with Landscape.open(database) as landscape:
        grid = _grid(temperatures or DEFAULT[landscape.molecule.is_cluster], landscape)
        if transition_states and len(grid) > 1:
            raise InputError("--transition-states: give one temperature")
        if not len(landscape):
            raise InputError(f"{database} has no minima yet")
        known = _frequencies(landscape, model, links=transition_states)
        printed = {}
        if len(grid) == 1:
            printed["minima"] = tables.free_energies(landscape, known, grid[0], **options)
        if transition_states:
            found = tables.transition_states(landscape, known, grid[0], **options)
            printed["transition states"] = found
        printed["curve"] = tables.heat_capacity(landscape, known, grid, **options)
        at = grid[0] if len(grid) == 1 else None
        _print(landscape, printed, at, options, as_json, everything)
    return 0


def rates(
    database: Database,
    temperature: Temperature = None,
    source: Source = None,
    target: Target = None,
    regroup: Threshold = None,
    classical: Classical = False,
    rotation: Rotation = False,
    model: Weights = None,
    everything: All = False,
    as_json: Json = False,
) -> int:
    """Rates between minima by transition-state theory, or times and ways from one to another.

    Only verified transition states count. Frequencies that the database lacks are computed once
    and kept in it.
    """
    from topokrates.analysis import tables
    from topokrates.analysis.wells import rate_network, require_transition_states
    from topokrates.landscape import Landscape
    from topokrates.model.errors import InputError

    if (source is None) != (target is None):
        raise InputError("--from and --to: give both, or none")
    options: dict[str, Any] = {"quantum": False if classical else None, "rotation": rotation}
    with Landscape.open(database) as landscape:
        default = DEFAULT[landscape.molecule.is_cluster]
        (at,) = _grid(default if temperature is None else str(temperature), landscape)
        if regroup is not None and not 0 <= regroup < float("inf"):
            raise InputError(f"--regroup {regroup}: give 0 or more")
        for name in (source, target):
            if name is not None and name not in {m.id for m in landscape.minimum_list}:
                raise InputError(f"{database} has no minimum {name}")
        if source is not None and source == target:
            raise InputError(f"--from and --to are both {source}: give two different minima")
        require_transition_states(landscape)
        known = _frequencies(landscape, model, links=True)
        apart = [] if source is None else [[source], [target]]
        network = rate_network(landscape, known, at, regroup=regroup, apart=apart, **options)
        printed = {}
        if source is not None:
            printed["passage"] = tables.passage_table(landscape, network, *apart)
        else:
            if regroup is not None:
                printed["groups"] = tables.state_table(landscape, network)
            printed["rates"] = tables.rate_table(landscape, network)
        _print(landscape, printed, at, options, as_json, everything)
    return 0


def _grid(text: str, landscape: Landscape) -> list[float]:
    """Temperatures of "300", "200,300" or "100:600:10", the end included."""
    import numpy as np

    from topokrates.analysis.wells import scale_of
    from topokrates.model.errors import InputError

    try:
        if ":" in text:
            start, end, step = (float(part) for part in text.split(":"))
            count = np.floor((end - start) / step + 1e-9) + 1 if step > 0 else 0
            if not 1 <= count <= MANY:
                raise ValueError
            found = [start + step * k for k in range(int(count))]
        else:
            found = [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"temperatures {text!r}: give one, several as 200,300, or a range as 100:600:10"
        ) from None
    for temperature in found:
        scale_of(landscape).thermal(temperature)
    return found


def _frequencies(landscape: Landscape, model: str | None, links: bool) -> Any:
    from topokrates.analysis.harmonics import own_potential
    from topokrates.cli import terminal

    with terminal.progress() as progress:
        potential = None if model is None else own_potential(landscape, model, progress=progress)
        return landscape.frequencies(potential, links=links, progress=progress)


def _print(
    landscape: Landscape,
    printed: dict[str, pd.DataFrame],
    temperature: float | None,
    options: dict[str, Any],
    as_json: bool,
    everything: bool,
) -> None:
    from topokrates.analysis.wells import quantised, scale_of
    from topokrates.cli import columns, listing
    from topokrates.cli.commands import print_json

    scale = scale_of(landscape)
    kind = "quantum" if quantised(landscape, options["quantum"]) else "classical"
    if as_json:
        units = {"temperature": scale.temperature, "energy": landscape.relative_unit}
        units |= {"frequency": scale.frequency, "time": scale.time}
        units["heat_capacity"] = "k_B" if scale.reduced else "cal/(mol K)"
        head = {"molecule": landscape.molecule.name, "units": units, "vibrations": kind}
        head |= {"rotation": options["rotation"], "temperature": temperature}
        print_json(
            head | {columns.plain(name): columns.rows(table) for name, table in printed.items()}
        )
        return
    console = listing.output()
    at = "" if temperature is None else f" at {temperature:g} {scale.temperature}"
    turning = ", free rotation" if options["rotation"] else ""
    potential = landscape.provenance["name"]
    listing.say(
        console,
        f"{landscape.molecule.name} with {potential}{at}: {kind} vibrations{turning}",
    )
    for name, found in printed.items():
        rows = len(found) if everything or name == "curve" else ROWS
        listing.say(console)
        if found.empty:
            listing.say(console, f"{name}: none")
            continue
        if name != "passage":
            listing.write(console, columns.table(found.head(rows)))
            if len(found) > rows:
                listing.say(console, f"{rows} of {len(found)} rows; --all shows every one.")
            continue
        for way, row in enumerate(found.to_dict("records")):
            if way:
                listing.say(console)
            for column, value in row.items():
                listing.say(console, f"{column}: {columns.cell(str(column), value)}")
