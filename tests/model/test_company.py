"""Structures that share a compiled call: only where that pays, and only with the bits of alone."""

import numpy as np
import pytest

from topokrates.model import company
from topokrates.model.company import SIZE, Company


@pytest.mark.parametrize(
    ("lanes", "cores", "expected"),
    [
        (1, 1, [1]),
        (2, 1, [1, 1]),
        (3, 1, [3]),
        (8, 1, [4, 4]),
        (9, 1, [4, 4, 1]),
        (4, 2, [1, 1, 1, 1]),
        (8, 2, [4, 4]),
        (16, 16, [1] * 16),
        (0, 2, []),
    ],
)
def test_cores_that_would_wait_get_structures_one_by_one(lanes, cores, expected):
    parts = company.shares(np.arange(lanes) + 5, cores)
    assert [len(part) for part in parts] == expected
    assert np.concatenate([np.zeros(0, int), *parts]).tolist() == list(range(5, 5 + lanes))


class Machine:
    """Evaluates x to 2 x, in company with a relative error; keeps what was asked of it."""

    def __init__(self, values, error=0.0):
        self.values, self.error, self.calls = values, error, []

    def one(self, k):
        self.calls.append(1)
        return (np.array(2 * self.values[k]),)

    def together(self, which):
        assert len(which) == SIZE
        self.calls.append(SIZE)
        return [(np.array(2 * self.values[k] * (1 + self.error)),) for k in which]

    def evaluate(self, known, shapes):
        self.calls.clear()
        found = known.evaluate(shapes, self.one, self.together)
        assert [float(result[0]) for result in found] == [
            2 * self.values[k] for k in range(len(found))
        ]
        return self.calls


@pytest.fixture
def soon(monkeypatch):
    """After eight structures another compilation pays."""
    monkeypatch.setattr(company, "PAYS", 8)


def test_structures_are_joined_once_that_pays_and_was_tried(soon):
    known, machine = Company(), Machine([1.0, 2.0, 3.0, 4.0])
    assert machine.evaluate(known, "aaaa") == [1, 1, 1, 1]
    assert machine.evaluate(known, "aaaa") == [1, 1, 1, 1, SIZE]  # the trial
    assert machine.evaluate(known, "aaaa") == [SIZE]
    assert machine.evaluate(known, "aaa") == [SIZE]  # a seat is left
    assert machine.evaluate(known, "aa") == [1, 1]


def test_a_single_bit_that_differs_keeps_a_shape_alone_for_ever(soon):
    known, machine = Company(), Machine([1.0, 2.0, 3.0, 4.0], error=1e-15)
    for _ in range(3):
        machine.evaluate(known, "aaaa")
    assert machine.evaluate(known, "aaaa") == [1, 1, 1, 1]
    assert known.same == {"a": False}


def test_what_is_known_of_one_shape_says_nothing_of_another(soon):
    known, machine = Company(), Machine([1.0, 2.0, 3.0, 4.0])
    for _ in range(3):
        machine.evaluate(known, "aaaa")
    assert machine.evaluate(known, "bbbb") == [1, 1, 1, 1]
    assert machine.evaluate(known, "abaa") == [SIZE, 1]


@pytest.mark.parametrize("atoms", [9, 20])
def test_a_lane_gets_the_same_bits_in_company(soon, monkeypatch, network, structure, atoms):
    """Whatever the trial says on this processor: it decides what may be joined, not the results."""
    monkeypatch.setattr("topokrates.model.compiled._COMPANIES", {})
    monkeypatch.setattr("topokrates.model.cores.available", lambda: 1)
    numbers, x = structure(atoms)
    batch = x + np.random.default_rng(0).normal(0, 0.02, (SIZE, *x.shape))
    potential = network.bind(numbers)
    for _ in range(3):
        together = potential.energies_and_forces(batch)
    assert len(potential._company.same) == 1
    for lane in range(SIZE):
        alone = potential.energies_and_forces(batch[lane : lane + 1])
        for one, every in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], every[lane])
