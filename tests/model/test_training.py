"""Training on a pair potential of two elements, with networks as small as they can be."""

import json
from dataclasses import asdict, replace

import ase.db
import ase.io
import jax
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from topokrates.model import models, weights
from topokrates.model.errors import InputError
from topokrates.model.parameters import flatten
from topokrates.model.progress import Silent
from topokrates.model.so3krates import SO3krates
from topokrates.model.training import batches, config, data, references, splits
from topokrates.model.training.accuracy import errors, predictions
from topokrates.model.training.batches import epoch, in_order, sort
from topokrates.model.training.runs import train
from topokrates.model.training.trainer import random_parameters, schedule, trainer

NETWORK = {
    "features": 8,
    "layers": 1,
    "heads": 2,
    "degrees": [1, 2],
    "radial_functions": 8,
    "energy_hidden": 8,
    "cutoff": 4.0,
    "electrostatics": True,
    "zbl": False,
}
REFERENCES = {1: -13.6, 8: -2000.0}


def labelled(count, seed=0, sizes=(3, 5)):
    """Frames of H and O with Morse bonds between all atoms; eV and Å."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        n = sizes[k % len(sizes)]
        z = rng.choice([1, 8], n)
        x = np.array([[1.3 * i, 0, 0] for i in range(n)]) + rng.normal(0, 0.25, (n, 3))
        i, j = np.triu_indices(n, 1)
        d = x[j] - x[i]
        r = np.linalg.norm(d, axis=1)
        depth = 0.3 + 0.2 * (z[i] == z[j])
        e = np.exp(-1.5 * (r - 1.3))
        pull = (depth * 2 * 1.5 * (e - e**2))[:, None] * d / r[:, None]
        forces = np.zeros((n, 3))
        np.add.at(forces, i, pull)
        np.add.at(forces, j, -pull)
        energy = float(np.sum(depth * (e**2 - 2 * e))) + sum(REFERENCES[int(q)] for q in z)
        dipole = rng.normal(size=3) if k % 2 else None
        z = z.astype(np.int32)
        frames.append(data.Frame(z, x, energy, forces, dipole, 0, int(z.sum() % 2)))
    return frames


def test_labels_are_consistent():
    """Of the data of these tests: forces are the slopes of energies."""
    (frame,) = labelled(1, sizes=(5,))
    assert np.abs(frame.forces.sum(axis=0)).max() < 1e-12


def settings(**changes):
    table = {
        "data": {"files": ["train.npz"], "validation": 4},
        "network": NETWORK,
        "optimiser": {"steps": 120, "batch": 4, "warmup": 3, "learning_rate": 1e-2, "ema": 0.9},
        "run": {"validate_every": 40, "checkpoint_every": 7},
    }
    for section, values in changes.items():
        table[section] = table.get(section, {}) | values
    return config.of_table(table)


@pytest.fixture(scope="session")
def run():
    """A trainer with a weight on everything, and parameters."""
    made = settings(loss={"energy": 0.3, "forces": 0.7, "dipole": 0.2, "huber": 0.4})
    module = SO3krates(**NETWORK_OF_MODULE)
    return made, trainer(made, module), random_parameters(module, 0)


NETWORK_OF_MODULE = config.Network(**NETWORK).model_dump() | {"degrees": (1, 2)}


@pytest.fixture(scope="session")
def frames():
    return labelled(17)


@pytest.fixture(scope="session")
def buckets(frames):
    return sort(frames, REFERENCES, 4.0)


def save_npz(path, frames, **changes):
    width = max(len(f.numbers) for f in frames)

    def padded(rows, shape=()):
        whole = np.zeros((len(rows), width, *shape))
        for k, row in enumerate(rows):
            whole[k, : len(row)] = row
        return whole

    arrays = {
        "z": padded([f.numbers for f in frames]).astype(int),
        "R": padded([f.positions for f in frames], (3,)),
        "F": padded([f.forces for f in frames], (3,)),
        "E": np.array([f.energy for f in frames]),
    }
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})


# --- data ---------------------------------------------------------------------------------------


def reading(**changes):
    return config.Data(files=["a"], **changes)


def same(a, b):
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.numbers, other.numbers)
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-7)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-7)
        assert one.energy == pytest.approx(other.energy, abs=1e-7)


def test_every_format_says_the_same(frames, tmp_path):
    bare = [replace(f, dipole=None) for f in frames]
    save_npz(tmp_path / "a.npz", bare)
    atoms = []
    for f in bare:
        one = Atoms(f.numbers, f.positions)
        one.calc = SinglePointCalculator(one, energy=f.energy, forces=f.forces)
        atoms.append(one)
    ase.io.write(tmp_path / "a.extxyz", atoms)
    with ase.db.connect(tmp_path / "a.db") as database:
        for one in atoms:
            database.write(one)
    for name in ("a.npz", "a.extxyz", "a.db"):
        same(data.read(name, tmp_path, reading()), bare)
    assert data.digest(bare) == data.digest(data.read("a.npz", tmp_path, reading()))
    assert data.digest(bare[1:]) != data.digest(bare)


def test_other_units_and_names(frames, tmp_path):
    eV, bohr = units.mol / units.kcal, 1 / units.Bohr
    save_npz(
        tmp_path / "a.npz",
        frames,
        R=None,
        positions_300K=np.array([f.positions * bohr for f in frames[1::2]]),
        E_300K=[f.energy * eV for f in frames[1::2]],
        F_300K=np.array([f.forces * eV / bohr for f in frames[1::2]]),
        z_300K=np.array([f.numbers for f in frames[1::2]]),
    )
    found = data.read("a.npz#300K", tmp_path, reading(energy_unit="kcal/mol", length_unit="bohr"))
    same(found, frames[1::2])
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]])
    atoms.info["E"] = 2.0
    atoms.arrays["F"] = np.ones((2, 3))
    ase.io.write(tmp_path / "b.extxyz", atoms)
    (one,) = data.read("b.extxyz", tmp_path, reading(energy_key="E", forces_key="F"))
    assert one.energy == 2.0
    assert (one.forces == 1).all()
    assert one.unpaired == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"E": None}, "no energy"),
        ({"E": [1.0]}, "energies for"),
        ({"F": np.zeros((2, 2))}, "both must be"),
        ({"z": np.full((17, 5), 200)}, "atomic numbers"),
        ({"E": np.full(17, np.nan)}, "frame 0"),
    ],
)
def test_bad_data_are_refused_in_words(frames, tmp_path, changes, words):
    save_npz(tmp_path / "a.npz", frames, **changes)
    with pytest.raises(InputError, match=words):
        data.read("a.npz", tmp_path, reading())


def test_files_that_are_none(tmp_path):
    (tmp_path / "a.npz").write_text("nonsense")
    (tmp_path / "a.xyz").write_text("nonsense")
    for name in ("a.npz", "a.xyz", "none.npz"):
        with pytest.raises(InputError, match=name):
            data.read(name, tmp_path, reading())


# --- settings and splits ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "data is missing"),
        ({"data": {}}, "files is missing"),
        ({"data": {"files": ["a"]}, "optimizer": {}}, "optimizer is not a setting"),
        ({"data": {"files": ["a"], "trian": 3}}, "trian is not a setting; there are files"),
        ({"data": {"files": ["a"]}, "optimiser": {"steps": "many"}}, "optimiser.steps is 'many'"),
        ({"data": {"files": ["a"]}, "optimiser": {"steps": 0}}, "optimiser.steps is 0"),
        ({"data": {"files": ["a"]}, "network": {"features": 7}}, "features 7"),
        ({"data": {"files": ["a"]}, "loss": {"energy": 0.0, "forces": 0.0}}, "no weight"),
        ({"data": {"files": ["a"]}, "loss": {"dipole": 1.0}}, "electrostatics"),
        ({"data": {"files": ["a"]}, "start": {"freeze": ["x"]}}, "freeze"),
    ],
)
def test_wrong_settings_are_named(table, words):
    with pytest.raises(InputError, match=words) as caught:
        config.of_table(table)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_toml_is_told(tmp_path):
    (tmp_path / "a.toml").write_text("[data\n")
    with pytest.raises(InputError, match="not a TOML file"):
        config.load(tmp_path / "a.toml")
    with pytest.raises(InputError, match="no such file"):
        config.load(tmp_path / "none.toml")


def test_splits_are_disjoint_repeat_and_hold_what_was_asked(tmp_path):
    asked = reading(train=20, validation=5, test=10)
    split = splits.divide(50, asked, tmp_path)
    assert [len(part) for part in split] == [20, 5, 10]
    assert len(np.unique(np.concatenate(split))) == 35
    again = splits.divide(50, asked, tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(split, again, strict=True))
    other = splits.divide(50, reading(train=20, validation=5, test=10, seed=1), tmp_path)
    assert not np.array_equal(split.train, other.train)
    rest = splits.divide(50, reading(), tmp_path)
    assert [len(part) for part in rest] == [48, 2, 0]


def test_index_files_of_each_kind(tmp_path):
    rows = np.array([[1, 3, 5, 7], [2, 4, 6, 8]])
    np.savez(tmp_path / "i.npz", train=rows, test=np.array([9, 10]))
    np.save(tmp_path / "i.npy", rows[0])
    np.savetxt(tmp_path / "i.csv", rows[:1], fmt="%d", delimiter=",")
    np.savetxt(tmp_path / "i.txt", rows[0], fmt="%d")
    for name in ("i.npz#train/0", "i.npy", "i.csv", "i.txt"):
        split = splits.divide(12, reading(train_index=name, validation=1), tmp_path)
        assert set(split.train) | set(split.validation) == {1, 3, 5, 7}
        assert set(split.test) == {0, 2, 4, 6, 8, 9, 10, 11}
    split = splits.divide(
        12, reading(train_index="i.npy", test_index="i.npz#test", train=2, validation=2), tmp_path
    )
    assert split.test.tolist() == [9, 10]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": 60}, "60 frames for training"),
        ({"train_index": "none.txt"}, "no such file"),
        ({"train_index": "i.npz#other"}, "i.npz#key"),
        ({"train_index": "i.npz#far"}, "from 0 to 49"),
        ({"train_index": "i.npz#a", "test_index": "i.npz#a"}, "twice"),
    ],
)
def test_splits_that_cannot_be(tmp_path, changes, words):
    np.savez(tmp_path / "i.npz", a=[1, 2, 3], far=[50])
    with pytest.raises(InputError, match=words):
        splits.divide(50, reading(**changes), tmp_path)


def test_references_are_found_exactly_and_of_one_molecule_as_a_sum():
    frames = labelled(20)
    bare = [references.total(f.numbers, REFERENCES) for f in frames]
    found = references.fit(frames, np.array(bare))
    assert found == pytest.approx(REFERENCES)
    water = [data.Frame(np.array([8, 1, 1]), np.eye(3), -7.0, np.zeros((3, 3)))] * 3
    assert references.total(np.array([8, 1, 1]), references.fit(water)) == pytest.approx(-7.0)


# --- batches and the objective ------------------------------------------------------------------


def test_an_epoch_has_every_frame_once_in_an_order_of_its_own(buckets, frames):
    orders = [epoch(buckets, 4, seed, number) for seed in (0, 1) for number in (0, 1)]
    for order in orders:
        seen = [buckets[which].frames[row] for which, rows in order for row in rows]
        assert sorted(seen) == list(range(len(frames)))
    plain = [[(which, rows.tolist()) for which, rows in order] for order in orders]
    assert all(a != b for k, a in enumerate(plain) for b in plain[k + 1 :])
    again = [(which, rows.tolist()) for which, rows in epoch(buckets, 4, 1, 1)]
    assert again == plain[-1]


def test_buckets_pad_little_and_are_few():
    sizes = (4, 5, 6, 9, 20, 21, 22, 40)
    made = sort(labelled(40, sizes=sizes), REFERENCES, 4.0)
    assert len(made) == batches.BUCKETS
    assert sorted(k for b in made for k in b.frames) == list(range(40))
    for bucket in made:
        largest = bucket.everything.real.sum(axis=1).max()
        assert largest <= bucket.everything.numbers.shape[1] < largest + batches.MULTIPLE


def test_pairs_are_those_within_the_cutoff(buckets, frames):
    for bucket in buckets:
        for lane, k in enumerate(bucket.frames):
            near = bucket.everything.near
            found = {
                (int(i), int(j))
                for i, j in zip(near.receivers[lane], near.senders[lane], strict=True)
                if i != j
            }
            x = frames[k].positions
            i, j = np.triu_indices(len(x), 1)
            close = np.linalg.norm(x[i] - x[j], axis=1) < 4.0
            assert found == set(zip(i[close].tolist(), j[close].tolist(), strict=True))


def test_company_and_padding_change_nothing(run, buckets, frames):
    """Frames beside others, and others beside them."""
    _, made, params = run
    together = predictions(made, params, buckets, frames, 4)
    order = [5, 0, 3, 4]
    few = [frames[k] for k in order]
    alone = predictions(made, params, sort(few, REFERENCES, 4.0), few, 4)
    for row, k in enumerate(order):
        assert alone.energies[row] == pytest.approx(together.energies[k], abs=2e-5)
        np.testing.assert_allclose(alone.forces[row], together.forces[k], atol=2e-5)
        assert alone.losses[row] == pytest.approx(together.losses[k], rel=1e-4)


def test_forces_are_slopes_and_the_loss_is_its_formula(run, buckets, frames):
    made, machine, params = run
    for numbers, batch in in_order(buckets, 4):
        found = machine.predict(params, batch)
        step = 1e-2
        moved = batch.positions.copy()
        moved[:, 1, 0] += step
        higher = np.asarray(machine.predict(params, batch._replace(positions=moved)).energy)
        moved[:, 1, 0] -= 2 * step
        lower = np.asarray(machine.predict(params, batch._replace(positions=moved)).energy)
        slopes = -(higher - lower) / (2 * step)
        np.testing.assert_allclose(np.asarray(found.forces)[:, 1, 0], slopes, rtol=0.02, atol=2e-3)
        for lane, k in enumerate(numbers):
            n = len(frames[k].numbers)
            de = float(found.energy[lane]) - (
                frames[k].energy - references.total(frames[k].numbers, REFERENCES)
            )
            df = np.abs(np.asarray(found.forces)[lane, :n] - frames[k].forces)
            huber = np.where(df < 0.4, df**2, 0.4 * (2 * df - 0.4))
            expected = made.loss.energy * de**2 / n + made.loss.forces * huber.mean()
            missing = float(found.loss[lane]) - expected
            # what is left is the dipole's, where there is one
            assert (missing > 1e-4) == (frames[k].dipole is not None)


def test_lanes_without_weight_do_not_count(run, buckets):
    _, machine, params = run
    bucket = buckets[0]
    full, filled = bucket.take(np.array([0, 1]), 4), bucket.take(np.array([0, 1, 0, 1]), 4)
    state = machine.init(params)
    one, info = machine.step(state, 5, full)
    other, twice = machine.step(machine.init(params), 5, filled)
    assert float(info.loss) == pytest.approx(float(twice.loss), rel=1e-5)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_gradient_that_is_not_finite_is_passed_over(run, buckets):
    _, machine, params = run
    batch = buckets[0].take(np.arange(4), 4)
    bad = batch._replace(energy=np.full(4, np.nan, np.float32))
    state, info = machine.step(machine.init(params), 5, bad)
    assert np.isnan(info.loss)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_learning_rate_follows_its_schedule():
    rate = schedule(config.Optimiser(steps=1000, warmup=50, learning_rate=1e-2))
    assert float(rate(0)) == 0
    assert float(rate(50)) == pytest.approx(1e-2)
    assert float(rate(1000)) == pytest.approx(1e-4)
    slow = config.Optimiser(steps=10**6, warmup=0, schedule="exponential", learning_rate=1e-2)
    assert float(schedule(slow)(100_001)) == pytest.approx(7e-3, rel=1e-3)


# --- runs ---------------------------------------------------------------------------------------


class Stopper(Silent):
    def __init__(self, at):
        self.at = at

    def advance(self, done, message=""):
        if done == self.at:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished run, and its folder of data."""
    folder = tmp_path_factory.mktemp("training")
    save_npz(folder / "train.npz", labelled(20))
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


def test_another_run_is_not_gone_on_with(trained, monkeypatch):
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
    frames = data.read("train.npz", folder, reading())
    assert made.training["data"]
    assert set(made.reference_energies) == {1, 8}
    field = models.load(str(whole.weights))
    machine = trainer(settings(), SO3krates(**NETWORK_OF_MODULE))
    buckets = sort(frames, made.reference_energies, 4.0)
    told = predictions(machine, made.params, buckets, frames, 4)
    for k in (0, 1, 2):
        e, f = field.bind(frames[k].numbers).energies_and_forces(frames[k].positions[None])
        assert e[0] == pytest.approx(told.energies[k], abs=2e-4)
        np.testing.assert_allclose(f[0], told.forces[k], atol=2e-4)


@pytest.mark.slow
def test_fine_tuning_freezes_and_fits_a_second_reference(trained, monkeypatch):
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


def test_errors_are_of_all_components():
    from topokrates.model.training.accuracy import Predictions

    found = errors(
        Predictions(
            np.array([0.001, -0.003]),
            np.zeros(2),
            [np.full((1, 3), 0.002), np.zeros((3, 3))],
            [np.zeros((1, 3)), np.zeros((3, 3))],
            np.zeros(2),
        )
    )
    assert found.energy_mae == pytest.approx(2.0)
    assert found.energy_rmse == pytest.approx(np.sqrt(5))
    assert found.energy_mae_per_atom == pytest.approx(1.0)
    assert found.force_mae == pytest.approx(0.5)
    assert found.force_rmse == pytest.approx(1.0)
    assert np.isnan(errors(Predictions(np.zeros(0), np.zeros(0), [], [], np.zeros(0))).force_mae)
