"""Structures that share a compiled call: only where that pays, and only with the bits of alone."""

import numpy as np
import pytest

from topokrates.model import company
from topokrates.model.company import Company


@pytest.mark.parametrize(
    ("lanes", "cores", "sizes", "expected"),
    [
        (1, 1, [4], [1]),
        (2, 1, [4], [1, 1]),
        (3, 1, [4], [3]),
        (8, 1, [4], [4, 4]),
        (9, 1, [4], [4, 4, 1]),
        (4, 2, [4], [1, 1, 1, 1]),
        (8, 2, [4], [4, 4]),
        (16, 16, [4], [1] * 16),
        (0, 2, [4], []),
        (7, 1, [8, 4], [4, 3]),
        (13, 1, [8, 4], [8, 4, 1]),
        (8, 2, [8, 4], [4, 4]),
        (24, 2, [8, 4], [8, 8, 4, 4]),
        (18, 2, [8, 4], [8, 8, 1, 1]),
        (0, 2, [8, 4], []),
    ],
)
def test_cores_that_would_wait_get_structures_one_by_one(lanes, cores, sizes, expected):
    parts = Company(sizes).shares(np.arange(lanes) + 5, cores)
    assert [len(part) for part in parts] == expected
    assert np.concatenate([np.zeros(0, int), *parts]).tolist() == list(range(5, 5 + lanes))


class Machine:
    """Evaluates x to 2 x, in company with a relative error of its size; keeps what was asked."""

    def __init__(self, values, errors=()):
        self.values, self.errors, self.calls = values, dict(errors), []

    def one(self, k):
        self.calls.append(1)
        return (np.array(2 * self.values[k]),)

    def together(self, which):
        assert len(which) in (4, 8)
        self.calls.append(len(which))
        error = self.errors.get(len(which), 0.0)
        return [(np.array(2 * self.values[k] * (1 + error)),) for k in which]

    def evaluate(self, known, shapes):
        self.calls.clear()
        found = known.evaluate(shapes, self.one, self.together)
        assert [float(result[0]) for result in found] == [
            2 * self.values[k] for k in range(len(found))
        ]
        return self.calls


@pytest.fixture
def soon(monkeypatch):
    """After eight structures another compilation pays, after 32 one for eight; 4 numbers tell."""
    monkeypatch.setattr(company, "PAYS", {4: 8, 8: 32})
    monkeypatch.setattr(company, "TELLING", 4)


def test_structures_are_joined_once_that_pays_and_was_tried(soon):
    known, machine = Company([4]), Machine([1.0, 2.0, 3.0, 4.0])
    assert machine.evaluate(known, "aaaa") == [1, 1, 1, 1]
    assert machine.evaluate(known, "aaaa") == [1, 1, 1, 1, 4]  # the trial
    assert machine.evaluate(known, "aaaa") == [4]
    assert machine.evaluate(known, "aaa") == [4]  # a seat is left
    assert machine.evaluate(known, "aa") == [1, 1]


def test_larger_company_is_tried_after_smaller(soon):
    known, machine = Company([8, 4]), Machine([*range(1, 13)])
    assert machine.evaluate(known, "a" * 8) == [1] * 8 + [4]
    assert machine.evaluate(known, "a" * 8) == [4, 4]
    assert machine.evaluate(known, "a" * 12) == [4, 4, 4]
    assert machine.evaluate(known, "a" * 4) == [4]  # 32, but there are no eight to try
    assert machine.evaluate(known, "a" * 8) == [4, 4, 8]
    assert machine.evaluate(known, "a" * 8) == [8]
    assert machine.evaluate(known, "a" * 6) == [8]
    assert machine.evaluate(known, "a" * 5) == [4, 1]
    assert machine.evaluate(known, "a" * 12) == [8, 4]
    assert machine.evaluate(known, "aaaabbbbaaaa") == [8, 1, 1, 1, 1]


def test_a_single_bit_that_differs_keeps_a_shape_alone_for_ever(soon):
    known, machine = Company([8, 4]), Machine([1.0] * 8, {4: 1e-15})
    for _ in range(6):
        machine.evaluate(known, "a" * 8)
    assert machine.evaluate(known, "a" * 8) == [1] * 8
    assert known.same == {("a", 4): False}


def test_a_single_bit_that_differs_among_eight_keeps_a_shape_in_fours(soon):
    known, machine = Company([8, 4]), Machine([1.0] * 8, {8: 1e-15})
    for _ in range(6):
        machine.evaluate(known, "a" * 8)
    assert machine.evaluate(known, "a" * 8) == [4, 4]
    assert known.same == {("a", 4): True, ("a", 8): False}


def test_few_numbers_that_are_the_same_do_not_tell(soon, monkeypatch):
    monkeypatch.setattr(company, "TELLING", 12)
    known, machine = Company([4]), Machine([1.0] * 4)
    calls = [machine.evaluate(known, "aaaa").copy() for _ in range(5)]
    assert calls == [[1] * 4, [1] * 4 + [4], [1] * 4 + [4], [1] * 4 + [4], [4]]
    known = Company([4])
    for machine.errors[4] in (0, 0, 0, 1e-15):
        machine.evaluate(known, "aaaa")
    assert known.same == {("a", 4): False}


def test_what_is_known_of_one_shape_says_nothing_of_another(soon):
    known, machine = Company([4]), Machine([1.0, 2.0, 3.0, 4.0])
    for _ in range(3):
        machine.evaluate(known, "aaaa")
    assert machine.evaluate(known, "bbbb") == [1, 1, 1, 1]
    assert machine.evaluate(known, "abaa") == [4, 1]


@pytest.mark.parametrize("atoms", [9, 20])
def test_a_lane_gets_the_same_bits_in_company(monkeypatch, network, structure, atoms):
    """Whatever the trial says on this processor: it decides what may be joined, not the results."""
    monkeypatch.setattr(company, "PAYS", dict.fromkeys(company.PAYS, 0))
    monkeypatch.setattr(company, "TELLING", 20_000)
    monkeypatch.setattr("topokrates.model.compiled._COMPANIES", {})
    monkeypatch.setattr("topokrates.model.cores.available", lambda: 1)
    numbers, x = structure(atoms)
    potential, rng = network.bind(numbers), np.random.default_rng(0)

    def batch():
        return x + rng.normal(0, 0.02, (8, *x.shape))

    known = potential._company
    while known._next(next(iter(known.seen), None), 8) or not known.seen:
        potential.energies_and_forces(batch())
    assert known.same
    structures = batch()
    together = potential.energies_and_forces(structures)
    for lane in range(len(structures)):
        alone = potential.energies_and_forces(structures[lane : lane + 1])
        for one, every in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], every[lane])
