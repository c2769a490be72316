"""What the commands of `topokrates` do. Each returns its exit code.

Everything scientific is imported inside the functions, after the progress display has begun.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topokrates.cli import terminal

if TYPE_CHECKING:
    from ase import Atoms

    from topokrates.landscape import Landscape

LONGEST_NAME = 80


def explore(text: str, database: Path | None, plot: bool, as_json: bool, **settings: Any) -> int:
    """`topokrates explore`; `settings` are those of `topokrates.exploration.explore`."""
    path = None
    try:
        with terminal.progress() as progress:
            from topokrates.exploration import explore as search
            from topokrates.molecule import Molecule

            molecule = Molecule.from_text(text)
            path = database or Path(f"{file_name(molecule.name)}.db")
            page = beside(path, ".html") if plot else None
            require_writable(path, page)
            landscape = search(molecule, database=path, progress=progress, **settings)
            if page is not None:
                from topokrates.drawing.report import write_report

                progress.stage("page")
                write_report(landscape, page)
    except KeyboardInterrupt:
        if path is None or not path.exists():
            raise
        message = (
            f"stopped: everything found so far is in {path}; the same command goes on from there"
        )
        raise KeyboardInterrupt(message) from None
    with landscape:
        if as_json:
            print_json(landscape.to_dict())
        else:
            from topokrates.cli.listing import print_landscape

            print_landscape(landscape)
            sys.stdout.write(f"\ndatabase: {path}\n" + (f"page: {page}\n" if page else ""))
    return 0


def show(database: Path, as_json: bool, everything: bool) -> int:
    """`topokrates show`."""
    from topokrates.landscape import Landscape

    with Landscape.open(database) as landscape:
        if as_json:
            print_json(landscape.to_dict())
        else:
            from topokrates.cli.listing import print_landscape

            print_landscape(landscape, everything)
    return 0


def plot(
    database: Path,
    output: Path | None,
    layout: dict[str, Any],
    drawing: dict[str, Any],
    picture: dict[str, Any],
    as_json: bool,
) -> int:
    """`topokrates plot`; the options given for the tree, for any drawing, and for a picture."""
    from topokrates.drawing.pictures import FORMATS
    from topokrates.landscape import Landscape
    from topokrates.model.errors import InputError

    if output is None and not as_json:
        output = beside(database, ".html")
    kind = output.suffix.lower().lstrip(".") if output else ""
    if output and kind not in (*FORMATS, "html"):
        names = ", ".join(f".{name}" for name in (*FORMATS, "html"))
        raise InputError(f"{output}: the name must end in one of {names}")
    if picture and kind not in FORMATS:
        raise InputError(
            f"{output or '--json'}: style, font, size and dpi are for pictures (.png, .svg, .pdf)"
        )
    if drawing and output is None:
        raise InputError("--json prints energies in the database's unit: unit and labels need -o")
    with Landscape.open(database) as landscape:
        require_writable(output)
        if "free_energy_at" in layout:
            _check_drawing(landscape, layout, drawing, picture)
            with terminal.progress() as progress:
                landscape.frequencies(progress=progress)
        tree = landscape.disconnectivity_graph(**layout)
        if kind == "html" and output:
            from topokrates.drawing.report import write_report

            write_report(landscape, output, tree, **drawing)
        elif output:
            tree.save(output, **drawing, **picture)
    if as_json:
        print_json(tree.as_dict())
    else:
        sys.stdout.write(f"{output}\n")
    return 0


def _check_drawing(
    landscape: Landscape, layout: dict[str, Any], drawing: dict[str, Any], picture: dict[str, Any]
) -> None:
    """What wrong options of `plot` would raise at its end, before frequencies are computed."""
    from topokrates.analysis.wells import scale_of
    from topokrates.drawing import pictures, scales

    scale_of(landscape).thermal(layout["free_energy_at"])
    tree = landscape.disconnectivity_graph(**layout | {"free_energy_at": None})
    scales.scale_of(tree, drawing.get("scale"))
    scales.labels_of(tree, drawing.get("labels", "angles"))
    pictures.require_look(picture.get("style", "paper"), picture.get("font", pictures.FONT))


def export(database: Path, output: Path | None, form: str) -> int:
    """`topokrates export`."""
    from topokrates import exchange
    from topokrates.landscape import Landscape

    exchange.require_format(form)
    output = output or beside(database, f".{form}")
    with Landscape.open(database) as landscape:
        notes = exchange.export(landscape, output, form)
    sys.stdout.write(f"{output}\n")
    sys.stderr.writelines(f"topokrates: {note}\n" for note in notes)
    return 0


def import_landscape(
    path: Path, form: str, molecule: str | None, database: Path, unit: str | None
) -> int:
    """`topokrates import`."""
    from topokrates import exchange

    notes: list[str] = []
    with exchange.read(path, form, molecule, database, unit=unit, report=notes.append) as landscape:
        sys.stdout.write(f"{landscape.molecule.name}: {landscape.summary()}\n")
    sys.stdout.write(f"database: {database}\n")
    sys.stderr.writelines(f"topokrates: {note}\n" for note in notes)
    return 0


def relax(file: Path, output: Path | None, as_json: bool, settings: dict[str, Any]) -> int:
    """`topokrates relax`: exit code 1 if a frame is not certified."""
    with terminal.progress() as progress:
        from topokrates.frames import Relaxed, relax_frames
        from topokrates.relaxation.relax import Status

        frames, force_field = _load(file, output, settings, progress)
        jobs = relax_frames(frames, force_field, str(file))
        progress.stage("relax", len(frames))
        results: list[Relaxed] = []
        good = 0
        for result in jobs:
            results.append(result)
            good += result.status is Status.CERTIFIED
            progress.advance(len(results), f"{good} certified, {len(results) - good} not")
            if result.changed:
                progress.note(f"{file}, frame {result.frame}: another molecule: {result.changed}")
        results.sort(key=lambda result: result.frame)
        if output is not None:
            _write_frames(output, [result.atoms for result in results])
    if as_json:
        print_json([result.to_dict() for result in results])
    else:
        _print_frames([result.to_dict() for result in results], results[0].atoms, output)
    return 0 if good == len(results) else 1


def evaluate(
    file: Path,
    output: Path | None,
    as_json: bool,
    settings: dict[str, Any],
    labels: bool | None = None,
    parity: Path | None = None,
) -> int:
    """`topokrates evaluate`: exit code 1 if a calculation failed."""
    import numpy as np

    with terminal.progress() as progress:
        from topokrates.frames import Evaluated, evaluate_frames
        from topokrates.labelled import compare
        from topokrates.model.errors import InputError

        require_writable(parity)
        frames, force_field = _load(file, output, settings, progress)
        jobs = evaluate_frames(frames, force_field, str(file))
        progress.stage("evaluate", len(frames))
        results: list[Evaluated] = []
        for result in jobs:
            results.append(result)
            progress.advance(len(results))
        results.sort(key=lambda result: result.frame)
        failed = [r for r in results if not np.isfinite([r.energy, r.max_force]).all()]
        for result in failed:
            progress.note(f"{file}, frame {result.frame}: the calculation failed")
        if output is not None:
            _write_frames(output, [result.atoms for result in results])
        weights = getattr(force_field, "weights", None)
        references = getattr(weights, "reference_energies", None)
        compared = None if labels is False else compare(frames, results, references)
        if compared is None and (labels or parity):
            raise InputError(f"{file}: no frame carries an energy and forces to compare with")
        if compared is not None and parity is not None:
            from topokrates.drawing.learning import save_parity

            save_parity(compared.energies, compared.forces, parity)
    rows = [result.to_dict() for result in results]
    if compared is not None and not as_json:
        from topokrates.cli.listing import print_comparison

        print_comparison(compared)
        for path in (output, parity):
            if path is not None:
                sys.stdout.write(f"{path}\n")
    elif as_json:
        # a list for what has no labels, as it always was
        print_json(rows if compared is None else compared.to_dict() | {"frames": rows})
    else:
        brief = [{key: row[key] for key in ("frame", "energy", "max_force")} for row in rows]
        _print_frames(brief, results[0].atoms, output)
    return 1 if failed else 0


def models(as_json: bool) -> int:
    """`topokrates models`."""
    from topokrates.cli.catalogue import catalogue

    rows = catalogue()
    if as_json:
        print_json(rows)
        return 0
    from topokrates.cli.listing import print_models

    print_models(rows)
    return 0


def file_name(name: str) -> str:
    """A molecule's name made safe for a file; two names that lose something never meet."""
    safe = re.sub(r"[^A-Za-z0-9._+-]+", "_", name.replace("smiles:", "smiles-")).strip("._-")
    safe = safe[:LONGEST_NAME] or "molecule"
    if safe in (name, name.replace("smiles:", "smiles-")):
        return safe
    return f"{safe}-{sha256(name.encode()).hexdigest()[:6]}"


def beside(database: Path, suffix: str) -> Path:
    """The database's name with another ending; InputError if it has that ending itself."""
    from topokrates.model.errors import InputError

    path = database.with_suffix(suffix)
    if path == database:
        raise InputError(f"{database}: a database that must not end in {suffix}")
    return path


def require_writable(*paths: Path | None) -> None:
    """InputError if one of the files could not be written later. Leaves no trace."""
    from topokrates.model.errors import InputError

    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{path} is a folder, not a file to write")
        if not path.absolute().parent.exists():
            raise InputError(f"{path}: the folder {path.parent} does not exist")
        try:
            with tempfile.TemporaryFile(dir=path.absolute().parent):
                pass
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def print_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _load(
    file: Path, output: Path | None, settings: dict[str, Any], progress: terminal.Display
) -> tuple[list[Atoms], Any]:
    """The frames of a file, and the model: the one that fits them all unless told otherwise."""
    from topokrates.choice import model_for_frames
    from topokrates.labelled import read_labelled
    from topokrates.model.models import load

    frames = read_labelled(file)
    require_writable(output)
    settings = dict(settings)
    name = model_for_frames(frames, settings.pop("model"))
    return frames, load(name, progress=progress.note, **settings)


def _write_frames(output: Path, frames: list[Atoms]) -> None:
    import ase.io

    from topokrates.model.replacing import replacing

    with replacing(output) as temporary:
        ase.io.write(temporary, frames, format="extxyz")


def _print_frames(rows: list[dict[str, Any]], first: Atoms, written: Path | None) -> None:
    from topokrates.cli.listing import print_frames

    print_frames(rows, first.info["energy_unit"])
    if written is not None:
        sys.stdout.write(f"{written}\n")
