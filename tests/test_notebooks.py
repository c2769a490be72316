"""The notebooks run from top to bottom, with a small budget, and match their scripts."""

from pathlib import Path

import jupytext
import nbclient
import pytest

from topokrates.model import models
from topokrates.model.errors import InputError

FOLDER = Path(__file__).parent.parent / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


# what is trained too briefly finds no minimum
LONG = [pytest.mark.slow]


@pytest.mark.parametrize(
    "script",
    [pytest.param(s, marks=LONG if s.stem == "novelty" else []) for s in SCRIPTS],
    ids=lambda path: path.stem,
)
def test_runs(script, tmp_path, monkeypatch):
    try:
        models.load("so3lr")
    except InputError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("TOPOKRATES_QUENCHES", "12")
    monkeypatch.setenv("TOPOKRATES_ATTEMPTS", "2")
    monkeypatch.setenv("TOPOKRATES_STEPS", "3000")
    monkeypatch.setenv("TOPOKRATES_PEPTIDE", "Ac-Ala-NHMe")  # where a Hessian takes no time
    notebook = jupytext.read(script)
    nbclient.NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [cell["outputs"] for cell in notebook.cells if cell.cell_type == "code"]
    assert any("text/html" in output.get("data", {}) for cell in outputs for output in cell)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_matches_its_script(script):
    def code(path):
        return [cell.source for cell in jupytext.read(path).cells]

    assert code(script.with_suffix(".ipynb")) == code(script)
