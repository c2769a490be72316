"""Whole runs: they end alike however often they are stopped, and say what they came to."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from helpers.stopping import Stopper
from helpers.training import module, settings

from topokrates.cli.app import main
from topokrates.model import models, weights
from topokrates.model.errors import InputError
from topokrates.model.parameters import flatten
from topokrates.model.progress import Silent
from topokrates.model.training import config, data, runs
from topokrates.model.training.accuracy import errors, predictions
from topokrates.model.training.batches import sort
from topokrates.model.training.runs import train
from topokrates.model.training.trainer import trainer


@pytest.fixture(scope="session")
def trained(tmp_path_factory, labelled, save_npz):
    """A finished run, and its folder of data."""
    folder = tmp_path_factory.mktemp("training")
    save_npz(folder / "train.npz", labelled(20))
    save_npz(folder / "held.npz", labelled(3, seed=2))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, train(settings(), folder / "whole")


def test_the_loss_falls(trained):
    _, found = trained
    losses = [row["loss"] for row in found.history]
    assert [row["step"] for row in found.history] == [40, 80, 120]
    assert losses[-1] < 0.5 * losses[0]
    assert found.validation.frames == 4
    assert found.validation.force_mae == pytest.approx(
        min(found.history, key=lambda row: row["validation_loss"])["force_mae"], rel=1e-6
    )


@pytest.mark.parametrize(
    "at", [56, pytest.param(5, marks=pytest.mark.slow), pytest.param(93, marks=pytest.mark.slow)]
)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(trained, monkeypatch, at):
    folder, whole = trained
    monkeypatch.chdir(folder)
    out = folder / f"stopped{at}"
    with pytest.raises(KeyboardInterrupt):
        train(settings(), out, Stopper(at))
    again = train(settings(), out)
    assert again.history == whole.history
    assert again.validation == whole.validation
    assert weights.load(again.weights).sha256 == weights.load(whole.weights).sha256
    assert (out / "history.csv").read_text() == (whole.folder / "history.csv").read_text()
    # and a finished one has nothing left to do
    assert train(settings(), out).history == whole.history


def test_a_run_whose_gradients_are_never_finite_says_so_and_ends(trained, monkeypatch):
    folder, _ = trained
    monkeypatch.chdir(folder)
    monkeypatch.setattr(runs, "BARREN", 3)
    made = runs.trainer

    def broken(*arguments):
        machine = made(*arguments)

        def step(state, number, batch):
            state, info = machine.step(state, number, batch)
            return state, info._replace(
                gradient=np.float32(np.nan) if number > 1 else info.gradient
            )

        return machine._replace(step=step)

    monkeypatch.setattr(runs, "trainer", broken)
    said = Notes()
    with pytest.raises(InputError, match="3 steps in a row had no finite gradient"):
        train(settings(), folder / "broken", said)
    assert [note for note in said.notes if "passed over" in note] == [
        "step 3: a gradient that is not finite, passed over"
    ]


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, line):
        self.notes.append(line)


def test_the_command_prints_what_the_run_came_to(trained, monkeypatch, capsys):
    """Of a finished run: no step is taken."""
    folder, whole = trained
    monkeypatch.chdir(folder)
    sections = settings().model_dump(exclude_unset=True)
    lines = [
        f"[{name}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in section.items())
        for name, section in sections.items()
    ]
    (folder / "whole.toml").write_text("\n".join(lines))
    assert main(["train", "whole.toml"]) == 0
    assert f"{whole.validation.force_mae:.2f}" in capsys.readouterr().out
    assert (whole.folder / "learning_curve.svg").stat().st_size > 1000
    assert main(["train", "whole.toml", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 120
    assert told["history"] == whole.history
    assert told["errors"] == {"validation": asdict(whole.validation), "test": asdict(whole.test)}


def test_the_last_weights_are_kept_beside_the_best(trained):
    _, whole = trained
    last, best = (weights.load(whole.folder / f"{name}.safetensors") for name in ("last", "best"))
    row = whole.history[-1]
    assert last.training["step"] == row["step"] == 120
    told = last.training["errors"]["validation"]["force_mae"]
    assert told == pytest.approx(row["force_mae"])
    lowest = min(whole.history, key=lambda row: row["validation_loss"])
    told = best.training["errors"]["validation"]["force_mae"]
    assert told == pytest.approx(lowest["force_mae"])
    assert (last.sha256 == best.sha256) == (lowest is row)


def test_the_files_say_their_own_errors_on_the_test(trained):
    folder, whole = trained
    frames = data.read("held.npz", folder, config.Data(files=["held.npz"]))
    machine = trainer(settings(), module())
    for name in ("last", "best"):
        made = weights.load(whole.folder / f"{name}.safetensors")
        buckets = sort(frames, made.reference_energies, 4.0)
        found = errors(predictions(machine, made.params, buckets, frames, 4))
        told = made.training["errors"]["test"]
        assert told["frames"] == 3
        assert told["force_mae"] == pytest.approx(found.force_mae, rel=1e-5)
        assert told["energy_mae"] == pytest.approx(found.energy_mae, rel=1e-3)


def test_another_run_is_not_gone_on_with(trained, monkeypatch, labelled, save_npz):
    folder, whole = trained
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r"optimiser.steps: 120 there, 40 here"):
        train(settings(optimiser={"steps": 40}), whole.folder)
    save_npz(folder / "other.npz", labelled(20, seed=1))
    with pytest.raises(InputError, match=r"other (data|settings)"):
        train(settings(data={"files": ["other.npz"]}), whole.folder)
    (folder / "torn").mkdir(exist_ok=True)
    (folder / "torn" / "checkpoint.npz").write_bytes(b"torn")
    with pytest.raises(InputError, match="not a checkpoint"):
        train(settings(), folder / "torn")


def test_the_weights_say_where_they_come_from_and_serve_searches(trained):
    folder, whole = trained
    made = weights.load(whole.weights)
    assert made.elements == (1, 8)
    assert made.training["config"]["optimiser"]["steps"] == 120
    assert made.training["errors"]["validation"] == asdict(whole.validation)
    assert json.dumps(made.training)
    frames = data.read("train.npz", folder, config.Data(files=["train.npz"]))
    assert made.training["data"]
    assert set(made.reference_energies) == {1, 8}
    field = models.load(str(whole.weights))
    machine = trainer(settings(), module())
    buckets = sort(frames, made.reference_energies, 4.0)
    told = predictions(machine, made.params, buckets, frames, 4)
    for k in (0, 1, 2):
        e, f = field.bind(frames[k].numbers).energies_and_forces(frames[k].positions[None])
        assert e[0] == pytest.approx(told.energies[k], abs=2e-4)
        np.testing.assert_allclose(f[0], told.forces[k], atol=2e-4)


@pytest.mark.slow
def test_fine_tuning_freezes_and_fits_a_second_reference(trained, monkeypatch, labelled, save_npz):
    """Labels of another zero: the error before the first step is that of the old labels."""
    folder, whole = trained
    monkeypatch.chdir(folder)
    moved = [
        data.Frame(f.numbers, f.positions, f.energy + 7.0 * np.sum(f.numbers == 8) - 3.0, f.forces)
        for f in labelled(20)
    ]
    save_npz(folder / "moved.npz", moved)
    table = settings().model_dump(exclude={"network"}, exclude_unset=True)
    table["data"] = {"files": ["moved.npz"], "validation": 4}
    table["start"] = {"weights": str(whole.weights), "freeze": ["embedding", "layer_0"]}
    table["optimiser"] = table["optimiser"] | {"steps": 10}
    found = train(config.of_table(table), folder / "tuned")
    assert found.history[0]["step"] == 0
    assert found.history[0]["force_mae"] == pytest.approx(whole.validation.force_mae, rel=1e-3)
    old, new = weights.load(whole.weights), weights.load(found.weights)
    before, after = flatten(old.params), flatten(new.params)
    if found.history[0]["validation_loss"] > min(r["validation_loss"] for r in found.history):
        assert not np.array_equal(before["energy/hidden/kernel"], after["energy/hidden/kernel"])
    for name in before:
        if name.startswith(("embedding", "layer_0/")):
            np.testing.assert_array_equal(before[name], after[name])
    table["start"]["freeze"] = ["layer_9"]
    with pytest.raises(InputError, match="layer_9"):
        train(config.of_table(table), folder / "none")
    table["start"] = {"weights": "nothing.safetensors"}
    with pytest.raises(InputError, match="nothing"):
        train(config.of_table(table), folder / "none")
