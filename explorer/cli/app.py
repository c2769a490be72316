"""`topokrates`: a thin shell over the Python API.

Here are the commands with their options, and what becomes of errors; what the commands do is in
`commands`. Only typer is imported at the top, so that `--help` answers at once: the scientific
libraries take seconds.

Exit codes: 0; 1 if a structure could not be relaxed or evaluated; 2 for what cannot be used, with
one line on standard error; 130 when interrupted.
"""

import errno
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from topokrates.cli import analysis as analysis_commands
from topokrates.cli import compare as compare_command
from topokrates.cli import connect as connect_command
from topokrates.cli import dataset as dataset_command
from topokrates.cli import dynamics as dynamics_command
from topokrates.cli import frames as frames_command
from topokrates.cli import plot_options
from topokrates.cli import train as train_command
from topokrates.cli.options import (
    Cutoff,
    Database,
    Device,
    Json,
    Model,
    Precision,
    Saddles,
    Settings,
    Threads,
    duration,
    model_settings,
    number,
    real,
    searcher_settings,
)
from topokrates.defaults import MODEL, QUENCHES, SEARCHER, WALKERS

# What the click inside typer raises for a wrong command line; typer exports only its descendant.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]

ABOUT = "Explores the energy landscapes of molecules: minima, transition states, how they connect."
app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help=ABOUT
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        sys.stdout.write(f"topokrates {installed('topokrates')}\n")
        raise typer.Exit


@app.command()
def explore(
    molecule: Annotated[
        str,
        typer.Argument(
            metavar="MOLECULE",
            help="A peptide (Ac-Ala-NHMe), smiles:..., a file that ASE reads, or a cluster (LJ13).",
        ),
    ],
    model: Model = MODEL,
    searcher: Annotated[
        str,
        typer.Option(metavar="NAME", help="basin-hopping, parallel-tempering or minima-hopping."),
    ] = SEARCHER,
    changed: Settings = None,
    walkers: Annotated[int, number("Searches side by side, in one batch.")] = WALKERS,
    quenches: Annotated[
        int, number("Of this search in all its runs together in this database.")
    ] = QUENCHES,
    wall_time: Annotated[
        float | None, duration("Search no longer than this: 90s, 30m, 2h.")
    ] = None,
    stale: Annotated[
        int | None, number("End after so many quenches in a row without a new minimum.", "--stale")
    ] = None,
    window: Annotated[
        float | None,
        real("Count only minima so little above the lowest for --stale.", "KCAL/MOL"),
    ] = None,
    coverage: Annotated[
        float | None,
        real("End when a quench meets a known minimum with this estimated chance.", "SHARE"),
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Keep stereo, cis-trans, bonds or dissociated changes."),
    ] = None,
    seed: Annotated[int, number("Of everything random.")] = 0,
    database: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="[default: the molecule's name with .db, here]"),
    ] = None,
    connect: Annotated[
        bool, typer.Option("--connect/--no-connect", help="Search for transition states.")
    ] = True,
    saddles: Saddles = None,
    plot: Annotated[
        bool, typer.Option("--plot/--no-plot", help="Write an HTML page beside the database.")
    ] = True,
    as_json: Json = False,
    long_range_cutoff: Cutoff = "none",
    dtype: Precision = "float32",
    device: Device = None,
    threads: Threads = None,
) -> int:
    """Search a molecule's minima, connect them, draw the graph.

    The same command again goes on from what the database holds.
    """
    from topokrates.cli import commands

    return commands.explore(
        molecule,
        database,
        plot,
        as_json,
        searcher=searcher,
        settings=searcher_settings(changed or ()),
        walkers=walkers,
        quenches=quenches,
        wall_time=wall_time,
        stale=stale,
        window=window,
        coverage=coverage,
        allow=allow or (),
        seed=seed,
        connect=connect,
        saddles=saddles,
        **model_settings(model, long_range_cutoff, dtype, device, threads),
    )


app.command()(connect_command.connect)


@app.command()
def show(
    database: Database,
    as_json: Json = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Every row of the tables, not only the lowest ones.")
    ] = False,
) -> int:
    """Print the minima and transition states of a database."""
    from topokrates.cli import commands

    return commands.show(database, as_json, everything)


@app.command()
def plot(
    database: Database,
    output: plot_options.Output = None,
    levels: plot_options.Levels = None,
    spacing: plot_options.Spacing = None,
    lowest: plot_options.Lowest = None,
    window: plot_options.Window = None,
    trim_monotonic: plot_options.Monotonic = False,
    min_degree: plot_options.Degree = None,
    persistence: plot_options.Persistence = None,
    order: plot_options.Order = None,
    metric: plot_options.Metric = None,
    colour: plot_options.Colour = None,
    free_energy_at: analysis_commands.FreeEnergyAt = None,
    unit: plot_options.Unit = None,
    labels: plot_options.Labels = None,
    style: plot_options.Look = None,
    font: plot_options.Font = None,
    font_size: plot_options.FontSize = None,
    width: plot_options.Width = None,
    height: plot_options.Height = None,
    dpi: plot_options.Resolution = None,
    as_json: Json = False,
) -> int:
    """Draw the disconnectivity graph of a database, or print it as JSON.

    Trimming hides branches and changes no connection; how many are hidden is written on the plot.
    """
    from topokrates.cli import commands

    given = plot_options.given
    layout = given(levels=levels, spacing=spacing, lowest=lowest, window=window, order=order)
    layout |= given(min_degree=min_degree, persistence=persistence, metric=metric, colour=colour)
    layout |= given(free_energy_at=free_energy_at)
    picture = given(
        style=style, font=font, font_size=font_size, width=width, height=height, dpi=dpi
    )
    return commands.plot(
        database,
        output,
        layout | {"monotonic": trim_monotonic},
        given(scale=unit, labels=labels),
        picture,
        as_json,
    )


FORMATS = "extxyz|json|pathsample|pele"


@app.command()
def export(
    database: Database,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="PATH",
            help="A file; of pathsample a new folder. [default: DB's name with the format's]",
        ),
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar=FORMATS)] = "extxyz",
) -> int:
    """Write the minima and transition states of a database with their energies."""
    from topokrates.cli import commands

    return commands.export(database, output, form)


@app.command("import")
def import_(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A file; of pathsample the folder of min.data."),
    ],
    form: Annotated[str, typer.Option("--format", metavar=FORMATS)],
    database: Annotated[
        Path, typer.Option(metavar="FILE", help="To make; it must not be there yet.")
    ],
    molecule: Annotated[
        str | None,
        typer.Option(
            metavar="MOLECULE",
            help="As of explore, its atoms in the order of the file. Only json knows its own.",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            help="Of the energies in the file: eV, kcal/mol, kJ/mol, hartree (epsilon for LJ)."
            " [default: what the file says, else eV]",
            metavar="UNIT",
        ),
    ] = None,
) -> int:
    """Make a database of a landscape that another program, or export, has written.

    Transition states of other programs come in as estimates, and no search goes on in what they
    have found: it can be shown, plotted and exported.
    """
    from topokrates.cli import commands

    return commands.import_landscape(path, form, molecule, database, unit)


@app.command()
def models(as_json: Json = False) -> int:
    """List the models known by name, and where they are."""
    from topokrates.cli import commands

    return commands.models(as_json)


app.command()(frames_command.relax)
app.command()(frames_command.evaluate)
app.command()(analysis_commands.thermo)
app.command()(analysis_commands.rates)
app.command()(compare_command.compare)
app.command()(train_command.train)
app.command()(dynamics_command.md)
app.command()(dataset_command.dataset)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line (that of the process by default) and returns its exit code."""
    own = arguments is None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        _silence_libraries()
        try:
            code = _run(arguments or ["--help"])
            sys.stdout.flush()
            return code
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ENOSPC):
                raise
            # files are written under a guard, so it is stdout; what is buffered must not raise
            # again at exit, and a reader that has gone needs no word
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            quiet = error.errno == errno.EPIPE
            return 1 if quiet else _fail(f"standard output: {error.strerror}", 1)
        except KeyboardInterrupt as stop:
            code = _fail(str(stop) or "stopped", 130)
            if own:
                # compiled code may still be running, and an orderly end would crash it
                sys.stderr.flush()
                os._exit(code)
            return code
        except Exception as error:
            # only where it was imported can it have been raised, and importing it takes seconds
            errors = sys.modules.get("topokrates.model.errors")
            if errors is None or not isinstance(error, errors.InputError):
                raise
            return _fail(str(error), 2)


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        # not its `main`, which turns errors into boxes and Ctrl-C into silence
        with command.make_context("topokrates", arguments) as context:
            return command.invoke(context) or 0
    except typer.Exit as leave:
        return leave.exit_code
    except UsageError as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        message = error.format_message()  # pyright: ignore[reportAttributeAccessIssue]
        return _fail(message.rstrip(".") + hint, 2)


def _fail(message: str, code: int) -> int:
    """One line on standard error, whatever is in the names of files."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    sys.stdout.flush()
    sys.stderr.write(f"topokrates: {line}\n")
    return code


def _silence_libraries() -> None:
    """Their warnings are for developers, who have PYTHONWARNINGS and TF_CPP_MIN_LOG_LEVEL."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # not jax's: given a level, it hands that to XLA and undoes the line above
    for name in ("absl", "matplotlib"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
