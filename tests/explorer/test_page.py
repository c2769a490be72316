"""The page in a real browser: what a person clicks is what is shown."""

import numpy as np
import pytest
from helpers import browser as browser_module

from topokrates.drawing import pagedata
from topokrates.drawing.report import write_report
from topokrates.landscape import Landscape
from topokrates.molecule import Molecule, set_rotor
from topokrates.storage.records import Link, Minimum

pytestmark = pytest.mark.skipif(browser_module.executable() is None, reason="no Chromium")
PROVENANCE = {"name": "made up", "units": {"energy": "eV", "length": "Å"}}
READY = "document.body && document.body.dataset.ready"


def made_up(number, seed=0):
    """A landscape of a dipeptide with this many minima, in a random tree of links."""
    molecule, rng = Molecule.from_text("Ac-Ala-NHMe"), np.random.default_rng(seed)
    rotors = [r for r in molecule.rotatable if r.kind in ("phi", "psi")]
    angles = rng.uniform(-np.pi, np.pi, (number, 2))
    energies = np.sort(rng.gamma(4, 0.06, number))

    def structure(pair):
        x = molecule.positions
        for rotor, angle in zip(rotors, pair, strict=True):
            x = set_rotor(x, rotor, angle)
        return x

    minima = [
        Minimum(n + 1, float(energies[n]), structure(angles[n]), 1e-5, 0.003, 1)
        for n in range(number)
    ]
    links = []
    for n in range(1, number):
        other = int(rng.integers(0, n))
        top = float(energies[n] + rng.gamma(2, 0.05))
        middle = structure((angles[n] + angles[other]) / 2)
        links.append(Link(n, (other + 1, n + 1), top, middle, n % 10 != 9, 1e-5, 1, -0.1))
    landscape = Landscape.create(molecule, PROVENANCE)
    landscape.store.fill(minima, links)
    return landscape


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = browser_module.Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_report(made_up(12), path)
    return path


@pytest.fixture
def opened(browser, page):
    browser.size(1300, 1000)
    browser.open(page, READY)
    yield browser
    assert browser.errors == []


def shown(browser):
    return browser.run("({...document.body.dataset})")


def place(browser, x, y):
    """Where a point of the tree is in the window."""
    return browser.run(
        "(() => { const d = by('tree'), f = d._fullLayout, b = d.getBoundingClientRect();"
        f" return [b.left + f._size.l + f.xaxis.d2p({x}), b.top + f._size.t + f.yaxis.d2p({y})];"
        "})()"
    )


def stroke(browser, what):
    """The points of the line of a minimum, or of junction -1 - what."""
    line = browser.run(f"data.strokes.find(s => s[0] === {what}).slice(1)")
    return list(zip(line[::2], line[1::2], strict=True))


def test_a_click_on_a_branch_shows_its_structure(opened):
    assert shown(opened)["minimum"] == "1"
    line = stroke(opened, 5)
    (x, top), (_, foot) = line[-2], line[-1]
    opened.click(*place(opened, x, 0.4 * top + 0.6 * foot))  # on the line, not on the dot
    assert shown(opened)["minimum"] == "5"
    assert opened.run("by('heading').textContent") == "Minimum 5"
    facts = opened.run("by('facts').textContent")
    assert "φ (°)" in facts
    assert "Visits1" in facts
    drawn = opened.run("by('structure').data.reduce((n, t) => n + t.i.length, 0)")
    assert drawn > 22 * 100
    xyz = opened.run("decodeURIComponent(by('download').getAttribute('href').split(',')[1])")
    assert xyz.startswith("22\nAc-Ala-NHMe minimum 5, energy")
    assert len(xyz.splitlines()) == 24
    assert opened.run("document.querySelector('#minima-table tr.chosen').dataset.id") == "5"
    for figure in ("tree", "scatter"):
        rings = f"[...document.querySelectorAll('#{figure} .ring')]"
        assert opened.run(f"{rings}.map(r => r.dataset.id)") == ["5"]
    box = opened.run(
        "(r => [r.x + r.width / 2, r.y + r.height / 2])"
        "(document.querySelector('#tree .ring').getBoundingClientRect())"
    )
    assert box == pytest.approx(place(opened, x, foot), abs=1)


def test_a_click_on_a_junction_offers_its_paths_and_plays_one(opened):
    what = opened.run("data.strokes.find(s => s[0] < 0)[0]")
    opened.click(*place(opened, *stroke(opened, what)[-1]))
    links = opened.run(f"data.junctions[{-1 - what}]")
    assert shown(opened)["link"] == str(links[0])
    buttons = opened.run("[...by('links').children].map(b => Number(b.dataset.link))")
    assert buttons == links
    first = opened.run("by('structure').data[0].x.slice()")
    opened.run("by('play').click()")
    opened.wait("document.body.dataset.frame > 3")
    opened.run("by('play').click()")
    assert opened.run("by('structure').data[0].x") != first
    opened.run("by('frame').value = by('frame').max; by('frame').dispatchEvent(new Event('input'))")
    assert opened.run("by('frame').getAttribute('aria-valuetext')").startswith("minimum")


def test_a_drag_zooms_and_selects_nothing(opened):
    before = shown(opened)["minimum"]
    x, y = place(opened, *stroke(opened, 5)[-1])
    ask = opened._ask
    common = {"button": "left", "clickCount": 1}
    ask("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **common)
    ask("Input.dispatchMouseEvent", type="mouseMoved", x=x + 60, y=y - 60, **common)
    ask("Input.dispatchMouseEvent", type="mouseReleased", x=x + 60, y=y - 60, **common)
    assert shown(opened)["minimum"] == before


def test_search_tables_and_menus(opened):
    opened.run("by('wanted').value = 7; by('search').requestSubmit()")
    assert shown(opened)["minimum"] == "7"
    opened.run("by('wanted').value = 99; by('search').requestSubmit()")
    assert opened.run("by('heading').textContent") == "There is no minimum 99"
    column = "[...by('minima-table').tBodies[0].rows].map(r => r.cells[%d].textContent)"
    opened.run("by('minima-table').tHead.rows[0].cells[1].click()")
    opened.run("by('minima-table').tHead.rows[0].cells[1].click()")
    relative = [float(text) for text in opened.run(column % 1)]
    assert relative == sorted(relative, reverse=True)
    opened.run("by('minima-table').tBodies[0].rows[0].click()")
    assert shown(opened)["minimum"] == "12"
    opened.run("by('links-table').tBodies[0].rows[2].click()")
    assert shown(opened)["link"] == opened.run("by('links-table').tBodies[0].rows[2].dataset.id")
    opened.run("by('across').value = 2; by('across').dispatchEvent(new Event('change'))")
    assert opened.run("by('scatter').layout.xaxis.title.text") == "Radius of gyration (Å)"


def test_nothing_is_wider_than_a_phone(browser, page):
    browser.size(360, 740)
    browser.open(page, READY)
    assert browser.run("document.documentElement.scrollWidth") == 360
    wide = "[...document.querySelectorAll('#panel *, .bar > *')].filter(e => e.offsetParent &&"
    wide += " e.getBoundingClientRect().right > 360).map(e => e.id || e.tagName)"
    assert browser.run(wide) == []
    browser.click(*place(browser, *stroke(browser, 3)[-1]))
    assert shown(browser)["minimum"] == "3"
    assert browser.errors == []


def test_a_thousand_minima(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(pagedata, "MAX_PATHS", 50)
    path = tmp_path / "many.html"
    write_report(made_up(1000), path)
    assert path.stat().st_size < 12e6
    browser.size(1300, 1000)
    browser.open(path, READY)
    for name in (1, 500, 1000):
        line = stroke(browser, name)
        assert browser.run(f"select({name})")
        assert shown(browser)["minimum"] == str(name)
        assert len(line) >= 2
    assert "50 of 999 paths" in browser.run("by('notices').textContent")
    assert browser.errors == []
