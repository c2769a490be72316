"""The README's own snippets and promises."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_snippet_runs(snippet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(snippet, "README.md", "exec"), names)
    if "landscape" in names:
        assert "LJ7" in capsys.readouterr().out
        energies = [minimum.energy for minimum in names["landscape"].minimum_list]
        known = [-16.505384, -15.935043, -15.593211, -15.533060]
        assert energies == pytest.approx(known, abs=1e-6)
    else:
        assert names["hessians"].shape == (1, 39, 39)
        assert [proof.status for proof in names["certificates"]] == ["certified"] * 2


def test_commands_parse():
    from topokrates.cli import app as cli

    block = README.split("## On the command line")[1].split("##")[0]
    commands = re.findall(r"^    topokrates (\w+)", block, re.MULTILINE)
    assert set(commands) >= {"explore", "show", "plot", "export", "relax", "evaluate", "models"}
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert set(commands) <= known


def test_pictures_exist():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parent.parent / path).stat().st_size > 10_000
