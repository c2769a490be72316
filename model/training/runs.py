"""A whole training run, in a folder of its own: from a TOML file to a weights file.

The folder holds `checkpoint.npz`, from which a killed run goes on with the same result,
`history.csv`, the learning curve, `best.safetensors`, the averaged parameters with the lowest
validation loss so far, and `last.safetensors`, those of the last measurement: a few frames far off
can decide about the loss, and then the last ones may serve better. Both files say what they were
trained on and how well they did.
"""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import jax
import numpy as np

from topokrates.model import checkpoint
from topokrates.model import weights as files
from topokrates.model.errors import InputError
from topokrates.model.parameters import Weights, build, flatten
from topokrates.model.progress import Progress, Silent
from topokrates.model.replacing import replacing
from topokrates.model.so3krates import SO3krates
from topokrates.model.training import config, data, references
from topokrates.model.training.accuracy import Errors, errors, predictions
from topokrates.model.training.batches import epoch, sort
from topokrates.model.training.config import Config
from topokrates.model.training.data import Frame
from topokrates.model.training.splits import divide
from topokrates.model.training.trainer import (
    State,
    Trainer,
    learning_rate,
    random_parameters,
    trainer,
)

CHECKPOINT, HISTORY = "checkpoint.npz", "history.csv"
BEST, LAST = "best.safetensors", "last.safetensors"
BARREN = 300  # steps passed over in a row that end a run
PATIENCE = 60.0  # s: a checkpoint is never older, however long steps take


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        folder: that holds its files.
        weights: path of the weights file.
        steps: done.
        validation, test: errors of these weights.
        history: rows of the learning curve: step, learning_rate, loss (of training, since the row
            before), validation_loss, energy_mae, energy_rmse (meV), force_mae, force_rmse (meV/Å).
    """

    folder: Path
    weights: Path
    steps: int
    validation: Errors
    test: Errors
    history: list[dict[str, float]]


@dataclass(frozen=True, eq=False)
class Material:
    """What is learned from, what is measured with, and the energies of the elements."""

    train: list[Frame]
    validation: list[Frame]
    test: list[Frame]
    references: dict[int, float]
    digest: str

    @property
    def elements(self) -> tuple[int, ...]:
        return tuple(sorted(self.references))


def train(
    settings: str | Path | Config,
    output: str | Path | None = None,
    progress: Progress | None = None,
    devices: Sequence[Any] | None = None,
) -> Trained:
    """Train a network, or go on with a run that was interrupted.

    Args:
        settings: a TOML file, or what `config.of_table` made of one; see `config`.
        output: folder of the run; by default the TOML file's name without its ending, here.
        progress: told how it goes.
        devices: jax devices that share each batch; None for all of the default kind that divide it.

    Returns:
        A `Trained`. The same again on a finished run takes no step, and measures it anew.

    Raises:
        InputError: for settings or data that cannot be used, or a folder with another run in it.
    """
    progress = progress or Silent()
    if isinstance(settings, Config):
        made, base = settings, Path.cwd()
        folder = Path(output) if output else Path("training")
    else:
        made, base = config.load(settings)
        folder = Path(output) if output else Path(Path(settings).stem)
    progress.stage("data")
    start = files.load(_path(made.start.weights, base)) if made.start.weights else None
    architecture: dict[str, Any] = start.architecture if start else made.network.model_dump()
    attributes: dict[str, Any] = architecture | {"degrees": tuple(architecture["degrees"])}
    module = SO3krates(**attributes)
    run = trainer(made, module, _shared(made.optimiser.batch, devices))
    params = start.params if start else random_parameters(module, made.run.seed)
    _check_freeze(made, params)
    material = _material(made, base, run, start)
    for part in ("train", "validation", "test"):
        progress.note(f"{part}: {len(getattr(material, part))} frames")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    return _Run(made, architecture, run, material, folder, progress).go(params)


class _Run:
    """The loop over steps, and what it keeps."""

    def __init__(
        self,
        settings: Config,
        architecture: dict[str, Any],
        run: Trainer,
        material: Material,
        folder: Path,
        progress: Progress,
    ):
        self.settings, self.architecture, self.run = settings, architecture, run
        self.material, self.folder, self.progress = material, folder, progress
        cutoff = run.function.module.cutoff
        self.train, self.validation, self.test = (
            sort(frames, material.references, cutoff) if frames else []
            for frames in (material.train, material.validation, material.test)
        )
        self.history: list[dict[str, float]] = []
        self.best, self.best_loss = None, np.inf
        self.done, self.losses = 0, [0.0, 0]  # sum and number since the last row
        self.barren = 0  # steps in a row that were passed over

    def go(self, params: Any) -> Trained:
        optimiser, housekeeping = self.settings.optimiser, self.settings.run
        state = self._begin(params)
        size, steps = optimiser.batch, optimiser.steps
        passes = sum(-(-len(bucket.frames) // size) for bucket in self.train)
        self.progress.stage("train", steps, self.done)
        saved, order, current = time.monotonic(), [], -1
        while self.done < steps:
            number, place = divmod(self.done, passes)
            if number != current:
                order = epoch(self.train, size, housekeeping.seed, number)
                current = number
            which, rows = order[place]
            batch = self.train[which].take(rows, size)
            state, info = self.run.step(state, self.done, batch)
            self.done += 1
            self._look(float(info.loss), float(info.gradient))
            last = self.done == steps
            if last or self.done % housekeeping.validate_every == 0:
                self._measure(state)
            due = time.monotonic() - saved > PATIENCE
            if last or due or self.done % housekeeping.checkpoint_every == 0:
                self._keep(state)
                saved = time.monotonic()
            self.progress.advance(self.done, self._message())
        return self._finish(state)

    def _look(self, loss: float, gradient: float) -> None:
        """Adds up losses of steps; raises InputError where one after the other is passed over."""
        if np.isfinite(gradient) and np.isfinite(loss):
            self.losses, self.barren = [self.losses[0] + loss, self.losses[1] + 1], 0
            return
        self.barren += 1
        if self.barren == 1:
            self.progress.note(f"step {self.done}: a gradient that is not finite, passed over")
        if self.barren == BARREN:
            raise InputError(
                f"{self.folder}: {BARREN} steps in a row had no finite gradient:"
                " lower the learning rate, or begin with other weights"
            )

    def _begin(self, params: Any) -> State:
        """A new state, or that of the folder's checkpoint."""
        state = self.run.init(params)
        path = self.folder / CHECKPOINT
        if not path.exists():
            if not self.settings.start.weights:
                return state
            self._measure(state)  # what there is to begin with
            return state
        _, about = checkpoint.load(path)
        mine = self._about()
        for what, there, wanted in (
            ("data", about.get("data"), mine["data"]),
            ("settings", about.get("config"), mine["config"]),
        ):
            if there != wanted:
                where = f" ({_difference(there, wanted)})" if what == "settings" else ""
                raise InputError(
                    f"{self.folder} holds a run with other {what}{where}: give another --output"
                )
        kept, about = checkpoint.load(path, {"state": state, "best": state.average})
        self.done, self.history = about["step"], about["history"]
        self.best_loss, self.losses, self.best = about["best_loss"], about["losses"], kept["best"]
        return jax.tree.map(
            lambda old, new: jax.device_put(new, old.sharding), state, kept["state"]
        )

    def _about(self) -> dict[str, Any]:
        return {"config": self.settings.model_dump(mode="json"), "data": self.material.digest}

    def _keep(self, state: State) -> None:
        best = self.best if self.best is not None else state.average
        about = self._about() | {
            "step": self.done,
            "history": self.history,
            "best_loss": self.best_loss,
            "losses": self.losses,
        }
        checkpoint.save(self.folder / CHECKPOINT, {"state": state, "best": best}, about)
        _write_history(self.folder / HISTORY, self.history)

    def _measure(self, state: State) -> None:
        """A row of the learning curve; keeps the parameters if they are the best."""
        size = self.settings.optimiser.batch
        measured = self.validation, self.material.validation
        if not measured[1]:
            measured = self.train, self.material.train
        buckets, frames = measured
        made = predictions(self.run, state.average, buckets, frames, size)
        found, loss = errors(made), float(np.mean(made.losses))
        mean = self.losses[0] / self.losses[1] if self.losses[1] else loss
        row = {
            "step": self.done,
            "learning_rate": learning_rate(self.settings.optimiser, self.done),
            "loss": mean,
            "validation_loss": loss,
            "energy_mae": found.energy_mae,
            "energy_rmse": found.energy_rmse,
            "force_mae": found.force_mae,
            "force_rmse": found.force_rmse,
        }
        self.history.append(row)
        self.losses = [0.0, 0]
        self._save(state.average, {"validation": asdict(found)}, LAST)
        if loss < self.best_loss:
            self.best_loss = loss
            # a copy: the next step takes the memory of this one
            self.best = jax.tree.map(np.array, jax.device_get(state.average))
            self._save(self.best, {"validation": asdict(found)})

    def _message(self) -> str:
        if not self.history:
            return ""
        row = self.history[-1]
        return (
            f"validation: energy {row['energy_mae']:.1f} meV, forces {row['force_mae']:.1f} meV/Å"
        )

    def _finish(self, state: State) -> Trained:
        """Errors on the test, of the best parameters and, in their file, of the last."""
        self.progress.stage("test")
        # a run whose loss was never finite has no best
        if self.best is None:
            raise InputError(f"{self.folder}: no step had a finite loss; lower the learning rate")
        self._tested(state.average, LAST)
        validation, test = self._tested(self.best, BEST)
        return Trained(self.folder, self.folder / BEST, self.done, validation, test, self.history)

    def _tested(self, params: Any, name: str) -> tuple[Errors, Errors]:
        size, material = self.settings.optimiser.batch, self.material
        parts = (self.validation, material.validation), (self.test, material.test)
        found = [errors(predictions(self.run, params, *part, size)) for part in parts]
        named = zip(("validation", "test"), map(asdict, found), strict=True)
        self._save(params, {part: value for part, value in named if value["frames"]}, name)
        return found[0], found[1]

    def _save(self, params: Any, found: dict[str, Any], name: str = BEST) -> None:
        """A weights file."""
        housekeeping = self.settings.run
        about = self._about() | {"step": self.done, "errors": found}
        flat = {k: np.asarray(v) for k, v in flatten(params).items()}
        made: Weights = build(
            self.architecture,
            list(self.material.elements),
            flat,
            reference_energies=self.material.references,
            training=about,
            name=housekeeping.name or self.folder.resolve().name,
            source=str(self.folder / name),
            licence=housekeeping.licence,
            citation=housekeeping.citation,
        )
        files.save(made, self.folder / name)


def _material(made: Config, base: Path, run: Trainer, start: Weights | None) -> Material:
    """Frames, divided, with the reference energies that suit them."""
    frames = [f for file in made.data.files for f in data.read(file, base, made.data)]
    split = divide(len(frames), made.data, base)
    ours, validation, test = ([frames[k] for k in part] for part in split)
    test += [f for file in made.data.test_files for f in data.read(file, base, made.data)]
    if start is None:
        fitted = references.fit(ours)
    else:
        # what the network already says is not to be fitted again
        buckets = sort(ours, {}, run.function.module.cutoff)
        found = predictions(run, start.params, buckets, ours, made.optimiser.batch)
        rest = np.array([frame.energy for frame in ours]) - found.energies
        fitted = references.fit(ours, rest)
        _check_elements(fitted, start)
    for part, there in (("validation", validation), ("test", test)):
        strange = {int(z) for f in there for z in f.numbers} - set(fitted)
        if strange:
            raise InputError(f"elements {sorted(strange)} are in the {part} but not in training")
    parts = (ours, validation, test)
    whole = sha256("".join(data.digest(part) for part in parts).encode())
    whole.update((start.sha256 if start else "").encode())
    return Material(ours, validation, test, fitted, whole.hexdigest())


def _check_elements(fitted: dict[int, float], start: Weights) -> None:
    new = sorted(set(fitted) - set(start.elements))
    if new:
        raise InputError(f"{start.name} was not trained on the elements {new} of these frames")


def _check_freeze(made: Config, params: Any) -> None:
    names = flatten(params)
    for part in made.start.freeze:
        if not any(name == part or name.startswith(part.rstrip("/") + "/") for name in names):
            known = sorted({name.split("/")[0] for name in names})
            raise InputError(f"start.freeze: no parameter {part!r}; there are {', '.join(known)}")


def _shared(batch: int, devices: Sequence[Any] | None) -> list[Any]:
    """Devices that divide a batch evenly."""
    found = list(devices or jax.devices())
    return found[: max(n for n in range(1, len(found) + 1) if batch % n == 0)]


def _path(name: str, base: Path) -> str:
    """A path relative to the configuration, or a name."""
    beside = base / Path(name).expanduser()
    return str(beside) if beside.is_file() else name


def _difference(there: Any, wanted: Any, prefix: str = "") -> str:
    """The first setting that differs."""
    if isinstance(there, dict) and isinstance(wanted, dict):
        for key in sorted(set(there) | set(wanted)):
            if there.get(key) != wanted.get(key):
                return _difference(there.get(key), wanted.get(key), f"{prefix}{key}.")
    return f"{prefix.rstrip('.')}: {there} there, {wanted} here"


def _write_history(path: Path, rows: list[dict[str, float]]) -> None:
    if not rows:
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
