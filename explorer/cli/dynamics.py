"""`topokrates md`: its options, and what it does."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from topokrates.cli.options import (
    Cutoff,
    Device,
    Json,
    Model,
    Precision,
    Threads,
    model_settings,
    number,
    real,
)
from topokrates.defaults import MODEL


def md(
    molecule: Annotated[
        str,
        typer.Argument(
            metavar="MOLECULE|FILE",
            help="As for explore, from rest; each frame of a file starts a replica.",
        ),
    ],
    model: Model = MODEL,
    ensemble: Annotated[
        str, typer.Option(metavar="NAME", help="langevin or nose-hoover (NVT), or nve.")
    ] = "langevin",
    temperature: Annotated[
        float | None, real("Of the bath and the first velocities. [default: 300; 0.1 for LJ]", "K")
    ] = None,
    time: Annotated[float, real("Of the run, in ps (in tau for LJ).", "PS")] = 1.0,
    timestep: Annotated[
        float | None, real("In fs (in tau for LJ). [default: 0.5; 0.005 for LJ]", "FS")
    ] = None,
    friction: Annotated[float, real("Of langevin, in 1/ps (1/tau).", "1/PS")] = 2.0,
    period: Annotated[
        float | None, real("Of nose-hoover's thermostat. [default: 100 time steps]", "FS")
    ] = None,
    replicas: Annotated[int, number("Of each start, with velocities of their own.")] = 1,
    every: Annotated[int, number("Steps between frames, and between looks at the bonds.")] = 100,
    seed: Annotated[int, number("Of velocities and noise.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="OUT.extxyz", help="Trajectory; a killed run goes on."
        ),
    ] = None,
    as_json: Json = False,
    long_range_cutoff: Cutoff = "none",
    dtype: Precision = "float32",
    device: Device = None,
    threads: Threads = None,
) -> int:
    """Molecular dynamics of replicas side by side, and whether their bonds last.

    Exit code 1 if a replica lost a bond.
    """
    from topokrates.cli import terminal
    from topokrates.cli.commands import print_json, require_writable

    settings = model_settings(model, long_range_cutoff, dtype, device, threads)
    try:
        with terminal.progress() as progress:
            from topokrates.dynamics.integrators import Ensemble
            from topokrates.dynamics.run import check_length, dynamics
            from topokrates.dynamics.starts import at_rest, starts_of
            from topokrates.exploration import potential_of
            from topokrates.model.errors import InputError

            require_writable(output)
            whole, positions = starts_of(molecule)
            potential = potential_of(whole, **settings, progress=progress)
            if replicas < 1:
                raise InputError(f"{replicas} replicas: give at least 1")
            fs = potential.units.energy == "eV"
            dt = timestep if timestep is not None else 0.5 if fs else 0.005
            kelvin = temperature if temperature is not None else 300.0 if fs else 0.1
            wanted: dict[str, Any] = {"friction": friction, "seed": seed}
            wanted["period"] = period if period is not None else 100 * dt
            settled = Ensemble(ensemble, kelvin, dt, **wanted)
            settled.check()
            steps = round((time * 1000 if fs else time) / dt)
            check_length(steps, every)
            progress.stage("start")
            positions = positions or [at_rest(potential, whole)]
            positions = [x for x in positions for _ in range(replicas)]
            found = dynamics(potential, whole, positions, settled, steps, every, output, progress)
    except KeyboardInterrupt:
        hint = "; the same command goes on from the last checkpoint" if output else ""
        raise KeyboardInterrupt(f"stopped{hint}") from None
    if as_json:
        print_json(found.to_dict())
    else:
        from topokrates.cli.listing import print_dynamics

        print_dynamics(found, "fs" if fs else "tau")
        count, first = len(found.replicas), found.first_failure
        failure = "" if first is None else f", the first loss at {first:g}"
        share = f"{100 * found.kept:.0f} % of {count} replicas kept all bonds"
        sys.stdout.write(f"\n{share}{failure}\n")
        if output is not None:
            sys.stdout.write(f"{output}\n")
    return 0 if found.kept == 1 else 1
