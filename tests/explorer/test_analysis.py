"""Heat and rates of a landscape: LJ7 with all of its minima and transition states.

`lj7.json` is what `topokrates explore LJ7` found, exported without vibrations: the 4 minima and 12
transition states that are known, and an estimate.
"""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from topokrates import exchange
from topokrates.analysis.harmonics import own_potential
from topokrates.analysis.tables import heights
from topokrates.cli import app as cli
from topokrates.landscape import Landscape
from topokrates.model import models
from topokrates.model.analytic import LennardJones
from topokrates.molecule import Molecule
from topokrates.storage.records import Link, Minimum

LJ7 = Path(__file__).parent / "lj7.json"
T = 0.2  # epsilon/k_B
GROUPS = {"D5h": 20, "C3v": 6, "C2": 2}


@pytest.fixture(scope="session")
def potential():
    return LennardJones().bind(np.zeros(7, int))


@pytest.fixture(scope="session")
def computed(tmp_path_factory, potential):
    """A database with its frequencies, and the one without them that it was."""
    path = tmp_path_factory.mktemp("lj7") / "lj7.db"
    exchange.read(LJ7, "json", None, path).close()
    shutil.copy(path, path.with_name("bare.db"))
    with Landscape.open(path) as landscape:
        landscape.frequencies(potential)
    return path


@pytest.fixture
def bare(computed, tmp_path):
    return Path(shutil.copy(computed.with_name("bare.db"), tmp_path / "bare.db"))


@pytest.fixture
def known(computed, tmp_path):
    return Path(shutil.copy(computed, tmp_path / "known.db"))


@pytest.fixture
def lj7(known):
    with Landscape.open(known) as landscape:
        yield landscape


class Counted:
    """A potential that counts its Hessians, and is interrupted after some."""

    def __init__(self, potential, most=1000):
        self.potential, self.most, self.done = potential, most, 0

    def provenance(self):
        return self.potential.provenance()

    def with_dtype(self, dtype):
        assert dtype == "float64"
        return self

    def hessians(self, positions):
        if self.done == self.most:
            raise KeyboardInterrupt
        self.done += len(positions)
        return self.potential.hessians(positions)


# --- kept in the database -----------------------------------------------------------------------


def test_frequencies_are_computed_once(bare, potential):
    with Landscape.open(bare) as landscape:
        counted = Counted(potential)
        first = landscape.frequencies(counted, links=False)
        assert (counted.done, len(first.minima), first.links) == (4, 4, {})
        landscape.frequencies(counted)
        assert counted.done == 4 + 12  # none of the estimate
    with Landscape.open(bare) as landscape:
        again = landscape.frequencies(Counted(potential, most=0))
        for name, harmonic in first.minima.items():
            for a, b in zip(harmonic.vibrations, again.minima[name].vibrations, strict=True):
                assert a.tobytes() == b.tobytes()
            assert again.minima[name][1:] == harmonic[1:]
        assert {h.group.symbol: h.group.order for h in again.minima.values()} == GROUPS
        assert {h.vibrations.imaginary for h in again.links.values()} == {1}


def test_what_was_computed_before_an_interruption_is_kept(bare, potential):
    with Landscape.open(bare) as landscape, pytest.raises(KeyboardInterrupt):
        landscape.frequencies(Counted(potential, most=3))
    with Landscape.open(bare) as landscape:
        counted = Counted(potential)
        landscape.frequencies(counted)
        assert counted.done == 16 - 3


def test_no_model_is_loaded_for_what_is_known(lj7, monkeypatch):
    monkeypatch.setattr(models, "load", None)
    assert len(lj7.rates(T)) == 2 * 5  # of all pairs but one there are transition states


def test_the_model_is_found_by_its_name(bare):
    with Landscape.open(bare) as landscape:
        assert own_potential(landscape).provenance() == landscape.provenance


def test_other_potentials_are_refused(tmp_path, potential, refusal):
    cluster = Molecule.from_text("LJ7")
    other = potential.provenance() | {"name": "nobody's"}
    with Landscape.create(cluster, other, tmp_path / "other.db") as landscape:
        landscape.add_minimum(-16.0, cluster.positions)
        assert "nobody's" in refusal(landscape.frequencies, potential)
        line = refusal(landscape.frequencies)
        assert "other.db was made with nobody's, which cannot be loaded" in line
        assert "nobody's" in refusal(own_potential, landscape, "LJ")
        assert landscape.store.vibrations() == {}


def test_what_is_no_minimum_is_refused_and_not_stored(tmp_path, potential, lj7, refusal):
    with Landscape.create(lj7.molecule, lj7.provenance, tmp_path / "wrong.db") as landscape:
        saddle = lj7.link_list[0]
        landscape.add_minimum(saddle.energy, saddle.positions)
        assert "minimum 1 has 1 imaginary" in refusal(landscape.frequencies, potential)
        assert landscape.store.vibrations() == {}


def test_json_carries_vibrations(lj7, tmp_path, refusal):
    exported = tmp_path / "out.json"
    exchange.export(lj7, exported, "json")
    with exchange.read(exported, "json", None, tmp_path / "in.db") as again:
        theirs, ours = again.store.vibrations(), lj7.store.vibrations()
        assert list(theirs) == list(ours)
        for key, record in ours.items():
            assert theirs[key].frequencies.tobytes() == record.frequencies.tobytes()
            assert theirs[key].moments.tobytes() == record.moments.tobytes()
            assert theirs[key][4:] == record[4:]
    whole = json.loads(exported.read_text())
    first = whole["vibrations"][0]
    assert first["kind"] == "link"
    for change in (
        {"kind": "minimum"},  # with an imaginary frequency
        {"id": 99},
        {"frequencies": first["frequencies"][:3]},
        {"moments": [1, 2, -3]},
        {"number": 0},
        {"chiral": "no"},
        whole["vibrations"][1],  # twice
    ):
        damaged = whole | {"vibrations": [first | change, *whole["vibrations"][1:]]}
        exported.write_text(json.dumps(damaged))
        assert "vibrations" in refusal(exchange.read, exported, "json", None, None)


# --- laws ---------------------------------------------------------------------------------------


def test_rates_are_those_of_transition_state_theory_and_balance(lj7):
    """k = sum over transition states of o_min / o_ts * nu_min... / nu_ts... * exp(-dE / T)."""
    table, free = lj7.rates(T), lj7.free_energies(T)
    per_time = "(1/(sigma sqrt(m/epsilon)))"
    found = {(a, b): 10.0**k for a, b, k in table[["from", "to", f"log10 rate {per_time}"]].values}
    of, energies = lj7.frequencies(), {m.id: m.energy for m in lj7.minimum_list}
    expected = dict.fromkeys(found, 0.0)
    for link in lj7.link_list:
        for a, b in (link.minima, link.minima[::-1]):
            if link.verified and a != b:
                low, top = of.minima[a], of.links[link.id]
                modes = np.prod(low.vibrations.frequencies)
                modes /= np.prod(top.vibrations.frequencies[1:])
                ways = low.group.order / top.group.order
                barrier = link.energy - energies[a]
                expected[a, b] += ways * modes * np.exp(-barrier / T)
    assert found == pytest.approx(expected, rel=1e-10)
    share = dict(zip(free["id"], free["probability"], strict=True))
    for a, b in found:
        assert share[a] * found[a, b] == pytest.approx(share[b] * found[b, a], rel=1e-10)
    assert sum(share.values()) == pytest.approx(1)


def test_times_solve_the_master_equation(lj7):
    table = lj7.rates(T)
    ids = [m.id for m in lj7.minimum_list]
    rates = np.zeros((4, 4))
    for a, b, k in zip(table["from"], table["to"], table.iloc[:, 4], strict=True):
        rates[ids.index(a), ids.index(b)] = k
    start, end = ids[3], ids[0]
    generator = rates - np.diag(rates.sum(axis=1))
    times = np.linalg.solve(generator[1:, 1:], -np.ones(3))
    there, back = lj7.passage(start, [end], T).to_dict("records")
    column = "log10 mean first passage time (sigma sqrt(m/epsilon))"
    assert 10 ** there[column] == pytest.approx(times[2], rel=1e-9)
    assert (there["from"], there["to"], back["from"]) == ([start], [end], [end])
    assert there["fastest path"][0] == start
    assert there["fastest path"][-1] == end


def test_free_energies_go_into_the_tree(lj7, potential):
    known = lj7.frequencies()
    found = heights(lj7, known, T)
    free = lj7.free_energies(T)
    lowest = min(found["energies"].values())
    relative = {name: f - lowest for name, f in found["energies"].items()}
    assert relative == pytest.approx(dict(zip(free["id"], free.iloc[:, 1], strict=True)))
    assert set(found["link_energies"]) == {link.id for link in lj7.link_list}
    (estimate,) = (link for link in lj7.link_list if not link.verified)
    a, b = (lj7.minimum(name) for name in estimate.minima)
    thermal = (found["energies"][a.id] - a.energy + found["energies"][b.id] - b.energy) / 2
    assert found["link_energies"][estimate.id] == pytest.approx(estimate.energy + thermal)
    tree = lj7.disconnectivity_graph(free_energy_at=T)
    assert {b.minimum: b.energy for b in tree.branches} == pytest.approx(found["energies"])
    assert tree.quantity == "Free energy at 0.2 epsilon/k_B"
    assert lj7.disconnectivity_graph().quantity == "Energy"


# --- commands -----------------------------------------------------------------------------------


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def printed(run):
    """The JSON of a command that must go well."""

    def printed(*arguments):
        code, out, err = run(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return printed


def test_thermo_at_one_temperature(printed, known, lj7):
    found = printed("thermo", known, "--temperatures", T, "--transition-states")
    assert list(found) == [
        *("molecule", "units", "vibrations", "rotation", "temperature"),
        *("minima", "transition_states", "curve"),
    ]
    assert (found["molecule"], found["vibrations"], found["temperature"]) == ("LJ7", "classical", T)
    assert found["units"]["energy"] == "epsilon"
    free = lj7.free_energies(T)
    assert [row["id"] for row in found["minima"]] == free["id"].tolist()
    assert [row["probability"] for row in found["minima"]] == free["probability"].tolist()
    assert list(found["minima"][0]) == [
        *("id", "relative_free_energy", "relative_energy", "probability", "point_group"),
        *("symmetry_number", "copies", "lowest_frequency"),
    ]
    assert len(found["transition_states"]) == 12
    assert all(row["imaginary_frequency"] < 0 for row in found["transition_states"])


def test_thermo_at_several(printed, known, lj7):
    found = printed("thermo", known, "--temperatures", "0.1:0.3:0.1")
    assert "minima" not in found
    assert [row["temperature"] for row in found["curve"]] == pytest.approx([0.1, 0.2, 0.3])
    heat = lj7.heat_capacity([0.1, 0.2, 0.3])["heat capacity (k_B)"]
    assert [row["heat_capacity"] for row in found["curve"]] == pytest.approx(heat.tolist())
    assert heat[0] > 15  # K k_B, and what comes of the other minima
    turning = printed("thermo", known, "--temperatures", "0.1", "--rotation")
    assert turning["rotation"] is True
    # 3/2 T more; the moments of inertia weigh the minima, hardly at a low temperature
    expected = found["curve"][0]["internal_energy"] + 0.15
    assert turning["curve"][0]["internal_energy"] == pytest.approx(expected, abs=1e-2)


def test_rates_and_passage(printed, known, lj7):
    found = printed("rates", known, "--temperature", T)
    assert [row["log10_rate"] for row in found["rates"]] == lj7.rates(T).iloc[:, 3].tolist()
    assert list(found["rates"][0]) == ["from", "to", "free_energy_barrier", "log10_rate", "rate"]
    there, back = printed("rates", known, "--from", 4, "--to", 3)["passage"]
    assert list(there) == [
        *("from", "to", "log10_mean_first_passage_time", "log10_rate"),
        *("log10_steady_state_rate", "fastest_path", "log10_path_probability"),
    ]
    expected = lj7.passage(4, 3, T).to_dict("records")
    assert list(there.values()) == list(expected[0].values())
    assert list(back.values()) == list(expected[1].values())
    merged = printed("rates", known, "--regroup", 50)
    assert [row["minima"] for row in merged["groups"]] == [[1, 2, 3, 4]]
    assert merged["rates"] == []
    apart = printed("rates", known, "--regroup", 50, "--from", 4, "--to", 3)["passage"]
    assert apart[0]["fastest_path"] != apart[1]["fastest_path"]


def test_what_people_read(run, known, bare):
    code, out, err = run("thermo", bare)
    assert code == 0
    assert "frequencies 4/4" in err
    assert out.startswith("LJ7 with LJ at 0.2 epsilon/k_B: classical vibrations\n")
    assert "D5h" in out
    assert "(k_B)" in out
    code, out, err = run("rates", known, "--from", 4, "--to", 3)
    assert (code, err) == (0, "")
    assert "\nlog10 mean first passage time (sigma sqrt(m/epsilon)): " in out
    code, out, err = run("rates", known)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 2 + 3 + 10


def test_the_tree_at_a_temperature(printed, known, lj7):
    found = printed("plot", known, "--free-energy-at", T)
    energies = heights(lj7, lj7.frequencies(), T)["energies"]
    assert {b["minimum"]: b["energy"] for b in found["branches"]} == pytest.approx(energies)


BAD = [
    (["thermo", "--temperatures", "0"], "above 0"),
    (["thermo", "--temperatures", "nan"], "above 0"),
    (["thermo", "--temperatures", "hot"], "'hot'"),
    (["thermo", "--temperatures", "0.1:0.3"], "100:600:10"),
    (["thermo", "--temperatures", "0.1:1e9:1e-9"], "100:600:10"),
    (["thermo", "--temperatures", "1,2", "--transition-states"], "one temperature"),
    (["thermo", "--model", "nowhere"], "unknown model"),
    (["rates", "--temperature", "0"], "above 0"),
    (["rates", "--from", "1"], "both"),
    (["rates", "--from", "1", "--to", "99"], "no minimum 99"),
    (["rates", "--from", "1", "--to", "1"], "two different"),
    (["rates", "--regroup", "-1"], "0 or more"),
    (["plot", "--free-energy-at", "0"], "above 0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_line(run, known, arguments, message):
    before = sorted(known.parent.iterdir())
    code, out, err = run(arguments[0], known, *arguments[1:])
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(known.parent.iterdir()) == before


NONE = [
    ("empty", "has no minima yet"),
    ("estimates", "has no verified transition state"),
    ("apart", "minima 1 and 4 are not connected by verified transition states"),
    ("imported", "minimum 1 has no positions"),
    ("no positions", "minimum 3 has no positions"),
]


@pytest.mark.parametrize(("case", "message"), NONE)
def test_landscapes_that_have_none_say_so(run, tmp_path, case, message, dps, lj7):
    path, cluster = tmp_path / "case.db", lj7.molecule
    if case == "imported":
        exchange.read(dps, "pathsample", "LJ7", path).close()
    else:
        with Landscape.create(cluster, lj7.provenance, path) as landscape:
            if case != "empty":
                fill(landscape, lj7, case)
    rates = case in ("estimates", "apart")
    code, out, err = run(*(["rates", path, "--from", 1, "--to", 4] if rates else ["thermo", path]))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def fill(landscape, lj7, case):
    """Its minima and what joins them: estimates, or transition states between 1 and 2 alone."""
    minima = sorted(lj7.minimum_list, key=lambda m: m.id)
    if case == "no positions":
        minima = [Minimum(m.id, m.energy, None, None, None, 1) for m in minima]
    links = [] if case == "no positions" else [x for x in lj7.link_list if set(x.minima) <= {1, 2}]
    if case == "estimates":
        links = [Link(x.id, x.minima, x.energy, x.positions, False) for x in links]
    vibrations = lj7.store.vibrations().values() if case == "apart" else ()
    kept = {("minimum", m.id) for m in minima} | {("link", x.id) for x in links}
    landscape.store.fill(minima, links, [v for v in vibrations if (v.kind, v.id) in kept])


def test_a_database_of_the_third_schema_goes_on(bare, potential):
    with closing(sqlite3.connect(bare)) as connection:
        connection.execute("DROP TABLE vibration")
        connection.execute("UPDATE meta SET value = '3' WHERE key = 'schema_version'")
        connection.commit()
    for most in (16, 0):
        with Landscape.open(bare) as landscape:
            assert len(landscape.frequencies(Counted(potential, most)).links) == 12
