"""Programs that are kept: the same numbers, without being written down again."""

import dataclasses
import os
import time
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from topokrates.model import programs

traced = []


@dataclass(frozen=True)
class Power:
    exponent: int

    @property
    def key(self):
        return f"power {self.exponent}"


@dataclass(frozen=True)
class Nameless:
    exponent: int


def raised(function, scale, x, more):
    traced.append(x.shape)
    return jnp.sum(scale * x**function.exponent) + more["constant"], x - 1


ARRAYS = np.arange(4.0), {"constant": np.ones(())}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where programs are kept, and how to forget what the process holds."""
    traced.clear()
    monkeypatch.setattr(programs, "_loaded", {})
    monkeypatch.setattr(programs, "_folder", tmp_path / "kept")
    return tmp_path / "kept"


def run(function, scale=2, arrays=ARRAYS, new_start=True):
    if new_start:
        programs._loaded.clear()
    program = programs.load(raised, (function, scale), arrays, "cpu")
    x, more = arrays
    return program(x, more["constant"])


def test_a_new_start_does_not_trace_again(folder):
    for _ in range(3):
        total, rest = run(Power(2))
        assert float(total) == 2 * (1 + 4 + 9) + 1
        np.testing.assert_array_equal(rest, [-1, 0, 1, 2])
    assert len(traced) == 1
    assert len(list(folder.iterdir())) == 1


def test_within_a_process_alike_programs_are_one(folder):
    assert run(Power(2))[0] == run(Power(2), new_start=False)[0]
    assert programs.load(raised, (Power(2), 2), ARRAYS, "cpu") is programs.load(
        raised, (Power(2), 2), (ARRAYS[0] + 1, ARRAYS[1]), "cpu"
    )


def test_what_differs_is_not_taken_for_the_same(folder):
    assert float(run(Power(2))[0]) == 29
    assert float(run(Power(3))[0]) == 73
    assert float(run(Power(2), scale=3)[0]) == 43
    longer = np.arange(5.0), ARRAYS[1]
    assert float(run(Power(2), arrays=longer)[0]) == 61
    single = ARRAYS[0].astype(np.float32), ARRAYS[1]
    assert run(Power(2), arrays=single)[1].dtype == np.float32
    assert len(list(folder.iterdir())) == 5


def test_other_lines_of_this_package_make_other_programs(folder, monkeypatch):
    run(Power(2))
    monkeypatch.setattr(programs, "_sources", lambda: "edited")
    run(Power(2))
    assert len(traced) == 2


def test_what_has_no_key_is_not_kept(folder):
    assert float(run(Nameless(2))[0]) == 29
    assert not folder.exists()


def test_a_damaged_file_is_made_anew(folder):
    run(Power(2))
    (file,) = folder.iterdir()
    for broken in (b"", b"not a program", file.read_bytes()[:200]):
        file.write_bytes(broken)
        assert float(run(Power(2))[0]) == 29
        assert float(run(Power(2))[0]) == 29
    assert len(traced) == 4


def test_a_place_that_cannot_be_written_costs_time_only(folder):
    folder.write_text("a file, where the folder should be")
    assert float(run(Power(2))[0]) == 29
    assert float(run(Power(2))[0]) == 29
    assert len(traced) == 2


def test_what_nobody_asks_for_goes(folder):
    run(Power(2))
    run(Power(3))
    forgotten, wanted = sorted(folder.iterdir())
    long_ago = time.time() - programs.AGE - 10
    for file in (forgotten, wanted):
        os.utime(file, (long_ago, long_ago))
    run(Power(2))
    run(Power(4))
    assert len(traced) == 3
    assert len(list(folder.iterdir())) == 2


def test_a_network_is_known_by_all_that_its_arithmetic_depends_on(make_network):
    function = make_network().bind([1, 8, 1]).function
    others = [
        make_network(layers=1).bind([1, 8, 1]).function,
        make_network(cutoff=9.0).bind([1, 8, 1]).function,
        dataclasses.replace(make_network(), exact=True).bind([1, 8, 1]).function,
        make_network(energy_scale=False).bind([1, 8, 1]).function,
    ]
    assert function.key == make_network(seed=3).bind([6, 6]).function.key
    assert len({function.key, *(other.key for other in others)}) == 5


def test_a_network_gives_the_same_from_its_kept_programs(folder, make_network):
    force_field = make_network()
    x = np.random.default_rng(0).normal(scale=1.5, size=(1, 4, 3))

    def all_of_it():
        programs._loaded.clear()
        potential = force_field.bind([1, 6, 7, 8])
        return *potential.energies_and_forces(x), potential.hessians(x)

    first, kept = all_of_it(), all_of_it()
    assert len(list(folder.iterdir())) == 2
    programs._folder = None
    for results in zip(first, kept, all_of_it(), strict=True):
        assert len({np.asarray(result).tobytes() for result in results}) == 1


def test_programs_are_dropped_before_the_system_refuses_memory_for_more(folder, monkeypatch):
    maps = [100]
    monkeypatch.setattr(programs, "_maps", lambda: (maps[0], 1000))
    monkeypatch.setattr(programs, "_held", 0)
    used = programs.load(raised, (Power(2), 2), ARRAYS, "cpu")
    run(Power(3), new_start=False)
    assert len(programs._loaded) == 2
    maps[0] = 700
    run(Power(4), new_start=False)
    assert len(programs._loaded) == 1
    # what somebody holds goes on working, and what was dropped is made again
    x, more = ARRAYS
    assert float(used(x, more["constant"])[0]) == 2 * (1 + 4 + 9) + 1
    assert float(run(Power(3), new_start=False)[0]) == 2 * (1 + 8 + 27) + 1
    # what could not be given back is not tried for again, but what comes on top of it is
    assert len(programs._loaded) == 2
    maps[0] = 850
    run(Power(5), new_start=False)
    assert len(programs._loaded) == 1
    # once it has been given back, the first limit holds again
    for maps[0], exponent, left in ((200, 6, 2), (600, 7, 1)):
        run(Power(exponent), new_start=False)
        assert len(programs._loaded) == left


def test_a_system_without_such_a_limit_drops_nothing(folder, monkeypatch):
    def nowhere():
        raise FileNotFoundError

    monkeypatch.setattr(programs, "_maps", nowhere)
    for exponent in (2, 3):
        run(Power(exponent), new_start=False)
    assert len(programs._loaded) == 2
