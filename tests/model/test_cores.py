"""Work that is divided among cores comes back whole, in order, and only once."""

import os
import threading
import time

import numpy as np
import pytest

from topokrates.model import cores, programs


@pytest.fixture
def three(monkeypatch):
    for name in cores.LIMITS:
        monkeypatch.setenv(name, "1")  # put back at the end
    cores.limit(3)


def test_a_limit_is_what_is_available(three):
    assert cores.available() == 3
    assert {os.environ[name] for name in cores.LIMITS} == {"3"}


@pytest.mark.parametrize("given", ["", "0", "many"])
def test_without_a_limit_there_is_what_the_system_gives(three, monkeypatch, given):
    monkeypatch.setenv(cores.LIMITS[0], given)
    assert 1 <= cores.available() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8])
def test_results_are_in_the_order_of_the_items(three, count):
    def work(item):
        time.sleep(0.002 * (item % 3))
        return 10 * item

    assert cores.side_by_side(work, range(count)) == [10 * k for k in range(count)]


def test_as_many_at_once_as_there_are_cores(three):
    meeting = threading.Barrier(3, timeout=20)
    assert cores.side_by_side(lambda item: meeting.wait() * 0 + item, range(6)) == list(range(6))


def test_an_error_reaches_the_caller(three):
    with pytest.raises(ZeroDivisionError):
        cores.side_by_side(lambda item: 1 / item, [1, 2, 0])


def test_lanes_on_several_cores_get_the_bits_that_they_get_alone(three, network, structure):
    numbers, x = structure(9)
    batch = x + np.random.default_rng(0).normal(0, 0.02, (7, *x.shape))
    potential = network.bind(numbers)
    together = potential.energies_and_forces(batch)
    for lane in range(len(batch)):
        alone = potential.energies_and_forces(batch[lane : lane + 1])
        for one, every in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one[0], every[lane])


def test_what_several_ask_for_is_made_once(three, network, structure, monkeypatch):
    numbers, x = structure(9)
    potential, asked = network.bind(numbers), []

    def slowly(kernel, *arguments):
        asked.append(kernel)
        time.sleep(0.05)
        return load(kernel, *arguments)

    load = programs.load
    monkeypatch.setattr(programs, "load", slowly)
    potential.energies_and_forces(np.stack([x] * 6))
    assert len(asked) == 1
