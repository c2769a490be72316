"""Training on a pair potential of two elements, with networks as small as they can be."""

from itertools import combinations

import jax
import numpy as np
import pytest
from helpers.training import NETWORK, module, settings

from topokrates.model.network import NetworkForceField
from topokrates.model.parameters import build, flatten
from topokrates.model.so3krates import SO3krates
from topokrates.model.training import batches, config, references
from topokrates.model.training import trainer as trainers
from topokrates.model.training.accuracy import errors, predictions
from topokrates.model.training.batches import epoch, in_order, sort
from topokrates.model.training.trainer import random_parameters, schedule, trainer


def test_labels_are_consistent(labelled):
    """Of the data of these tests: forces are the slopes of energies."""
    (frame,) = labelled(1, sizes=(5,))
    assert np.abs(frame.forces.sum(axis=0)).max() < 1e-12


@pytest.fixture(scope="session")
def run():
    """A trainer with a weight on everything, and parameters."""
    made = settings(loss={"energy": 0.3, "forces": 0.7, "dipole": 0.2, "huber": 0.4})
    network = module()
    return made, trainer(made, network), random_parameters(network, 0)


@pytest.fixture(scope="session")
def buckets(frames, reference_energies):
    return sort(frames, reference_energies, 4.0)


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


def test_buckets_pad_little_and_are_few(labelled, reference_energies):
    sizes = (4, 5, 6, 9, 20, 21, 22, 40)
    made = sort(labelled(40, sizes=sizes), reference_energies, 4.0)
    assert 2 < len(made) <= batches.BUCKETS
    assert sorted(k for b in made for k in b.frames) == list(range(40))
    padded = there = 0
    for bucket in made:
        largest = bucket.everything.real.sum(axis=1).max()
        assert largest <= bucket.everything.numbers.shape[1] < largest + batches.MULTIPLE
        near = bucket.everything.near
        pairs = (near.receivers != near.senders).sum(axis=1)
        assert pairs.max() <= near.receivers.shape[1] < pairs.max() + batches.MULTIPLE
        padded, there = padded + near.receivers.size, there + pairs.sum()
    assert padded < 1.25 * there


def test_frames_with_as_many_pairs_share_a_bucket(labelled, reference_energies):
    """A program more would save nothing."""
    (bucket,) = sort(labelled(12, sizes=(5,)), reference_energies, 20.0)
    assert bucket.everything.near.receivers.shape == (12, 10)


def test_buckets_are_the_best_there_are(monkeypatch):
    """Among all ways to divide sizes."""
    rng = np.random.default_rng(0)
    pairs = rng.choice([8, 16, 40, 48, 80, 96, 160], 60)
    atoms = pairs // 4 + rng.integers(0, 9, 60)
    monkeypatch.setattr(batches, "SAVING", 0.0)
    monkeypatch.setattr(batches, "BUCKETS", 3)

    def cost(edges):
        total = 0
        for low, high in zip((-1, *edges[:-1]), edges, strict=True):
            inside = (pairs > low) & (pairs <= high)
            total += inside.sum() * (high + batches.PER_ATOM * atoms[inside].max())
        return total

    kinds = sorted(set(pairs.tolist()))
    best = min(cost((*some, kinds[-1])) for some in combinations(kinds[:-1], 2))
    assert cost(tuple(batches._limits(pairs, atoms))) == best


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


def test_company_and_padding_change_nothing(run, buckets, frames, reference_energies):
    """Frames beside others, and others beside them."""
    _, made, params = run
    together = predictions(made, params, buckets, frames, 4)
    order = [5, 0, 3, 4]
    few = [frames[k] for k in order]
    alone = predictions(made, params, sort(few, reference_energies, 4.0), few, 4)
    for row, k in enumerate(order):
        assert alone.energies[row] == pytest.approx(together.energies[k], abs=2e-5)
        np.testing.assert_allclose(alone.forces[row], together.forces[k], atol=2e-5)
        assert alone.losses[row] == pytest.approx(together.losses[k], rel=1e-4)


def test_forces_are_slopes_and_the_loss_is_its_formula(run, buckets, frames, reference_energies):
    made, machine, params = run
    weights_of = build(
        config.Network(**NETWORK).model_dump(), [1, 8], flatten(params), name="", source=""
    )
    field = NetworkForceField(weights_of, exact=True)
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
                frames[k].energy - references.total(frames[k].numbers, reference_energies)
            )
            df = np.abs(np.asarray(found.forces)[lane, :n] - frames[k].forces)
            huber = np.where(df < 0.4, df**2, 0.4 * (2 * df - 0.4))
            expected = made.loss.energy * de**2 / n + made.loss.forces * huber.mean()
            if frames[k].dipole is not None:
                x = frames[k].positions - frames[k].positions.mean(axis=0)
                dipole = field.bind(frames[k].numbers).parts(x).charges @ x
                expected += made.loss.dipole * np.mean((dipole - frames[k].dipole) ** 2)
            assert float(found.loss[lane]) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("basis", "functions", "cutoff"), [("physnet", 32, 9.0), ("bernstein", 8, 4.0)]
)
def test_what_is_trained_is_what_is_stored(
    frames, reference_energies, monkeypatch, basis, functions, cutoff
):
    """Radial networks on a grid, and where the pairs are."""
    changes = {"radial_basis": basis, "radial_functions": functions, "cutoff": cutoff}
    network = config.Network(**NETWORK).model_dump() | changes
    module = SO3krates(**network | {"degrees": (1, 2)})
    params = random_parameters(module, 0)
    made = sort(frames, reference_energies, cutoff)
    batch = max(made, key=lambda bucket: len(bucket.frames)).take(np.arange(4), 4)
    found = {}
    for worth in (0, 10**9):
        monkeypatch.setattr(trainers, "WORTH", worth)
        # of the same settings one trainer is kept
        machine = trainer(settings(optimiser={"clip": 5.0 + worth}), module)
        found[worth] = machine.predict(params, batch)
    on_grid, exact = found.values()
    assert np.any(np.asarray(on_grid.forces) != np.asarray(exact.forces))
    np.testing.assert_allclose(on_grid.energy, exact.energy, atol=2e-5)
    np.testing.assert_allclose(on_grid.forces, exact.forces, atol=2e-5)


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


def test_the_average_follows_the_parameters(run, buckets):
    """Early on it is over what there is, later with the decay that was asked for."""
    _, machine, params = run
    batch = buckets[0].take(np.arange(4), 4)
    for number, keep in ((5, 5 / 15), (10**6, 0.9)):
        state, _ = machine.step(machine.init(params), number, batch)
        for old, new, mean in zip(
            *(jax.tree.leaves(tree) for tree in (params, state.params, state.average)), strict=True
        ):
            np.testing.assert_allclose(mean, keep * old + (1 - keep) * new, rtol=1e-5, atol=1e-7)


def test_the_learning_rate_follows_its_schedule():
    rate = schedule(config.Optimiser(steps=1000, warmup=50, learning_rate=1e-2))
    assert float(rate(0)) == 0
    assert float(rate(50)) == pytest.approx(1e-2)
    assert float(rate(1000)) == pytest.approx(1e-4)
    # each method has one of its own
    assert float(schedule(config.Optimiser(warmup=50))(50)) == pytest.approx(5e-3)
    assert float(schedule(config.Optimiser(warmup=50, method="adam"))(50)) == pytest.approx(1e-3)
    slow = config.Optimiser(steps=10**6, warmup=0, schedule="exponential", learning_rate=1e-2)
    assert float(schedule(slow)(100_001)) == pytest.approx(7e-3, rel=1e-3)


def test_muon_makes_the_steps_of_matrices_orthogonal_and_freezes_what_it_is_told(buckets):
    optimiser = {"method": "muon", "batch": 4, "warmup": 0, "learning_rate": 1e-2, "ema": 0.0}
    start = {"weights": "any", "freeze": ["layer_0/mlp", "embedding"]}
    table = {"data": {"files": ["train.npz"]}, "start": start, "optimiser": optimiser}
    made = config.of_table(table)
    network = module()
    params = random_parameters(network, 1)
    batch = buckets[0].take(np.arange(4), 4)
    machine = trainer(made, network)
    state, _ = machine.step(machine.init(params), 500, batch)
    steps = {
        name: np.asarray(new) - old
        for (name, new), old in zip(
            flatten(state.params).items(), flatten(params).values(), strict=True
        )
    }
    for name, step in steps.items():
        if name.startswith(("layer_0/mlp", "embedding")):
            assert not step.any(), name
    # those singular values are one, up to the learning rate, that the gradient has at all
    for name, ranks in (("interaction/kernel", 4), ("attention/feature_value", 2)):
        matrix = steps[f"layer_0/{name}"]
        values = np.linalg.svd(matrix, compute_uv=False)[..., :ranks]  # one for each head
        one = 0.2 * 1e-2 * max(matrix.shape[-2:]) ** 0.5
        np.testing.assert_allclose(values, one, rtol=0.35, err_msg=name)


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
