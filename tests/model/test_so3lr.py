"""SO3LR by name: fetched once, checked, and found again."""

import subprocess
import sys
import types
import zipfile
from io import BytesIO
from pathlib import Path
from unittest import mock

import pytest
from helpers.foreign import assert_equal, synthetic, torch_file

from topokrates.model import parameters, so3lr, weightfile, weights
from topokrates.model.errors import InputError


@pytest.fixture
def small_so3lr(tmp_path, monkeypatch):
    """A world in which SO3LR is the small network, and pip delivers it in a wheel."""
    made = synthetic()
    model = torch_file(made)
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(weightfile.SO3LR_MEMBER, model)
    wheel = stream.getvalue()
    calls = []

    def run(command, **_):
        calls.append(command)
        folder = next(a.removeprefix("--dest=") for a in command if a.startswith("--dest="))
        (Path(folder) / "so3krates_torch-0.2.1-py3-none-any.whl").write_bytes(wheel)
        return subprocess.CompletedProcess(command, 0, "", "")

    sha256 = so3lr.hashlib.sha256
    monkeypatch.setattr(parameters, "SO3LR_SHA256", made.sha256)
    monkeypatch.setattr(so3lr, "FILE_SHA256", sha256(model).hexdigest())
    monkeypatch.setattr(so3lr, "WHEEL_SHA256", sha256(wheel).hexdigest())
    monkeypatch.setattr(so3lr.subprocess, "run", run)
    monkeypatch.setattr(so3lr.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("TOPOKRATES_CACHE", str(tmp_path / "cache"))
    return types.SimpleNamespace(
        made=made,
        model=model,
        wheel=wheel,
        calls=calls,
        cached=tmp_path / "cache/so3lr.safetensors",
    )


def test_fetched_once_and_cached(small_so3lr):
    lines: list[str] = []
    assert weights.available()[-1]["found"].startswith("fetched on first use")
    found = weights.load("so3lr", progress=lines.append)
    assert_equal(found, small_so3lr.made)
    assert (found.name, found.licence) == ("so3lr", "MIT")
    assert "doi:10.1021/jacs.5c09558" in found.citation
    assert len(lines) == 1
    assert "3 MB" in lines[0]
    again = weights.load("so3lr", progress=lines.append)
    assert_equal(again, small_so3lr.made)
    assert (again.name, again.source) == ("so3lr", str(small_so3lr.cached))
    assert len(lines) == len(small_so3lr.calls) == 1
    assert weights.available()[-1]["found"] == str(small_so3lr.cached)


def test_fetching_builds_nothing_and_ignores_a_pip_in_the_working_folder(small_so3lr):
    weights.load("so3lr")
    command = small_so3lr.calls[0]
    assert command[:2] == [sys.executable, "-P"]
    assert {"--no-deps", "--only-binary=:all:", "so3krates-torch==0.2.1"} <= set(command)


def test_damaged_cache_is_mended(small_so3lr, caplog):
    weights.load("so3lr")
    whole = small_so3lr.cached.read_bytes()
    other = synthetic(seed=1)
    for damage in (b"", whole[:500], b"nonsense" * 9, None):
        if damage is None:
            weights.save(other, small_so3lr.cached)  # valid, and another network
        else:
            small_so3lr.cached.write_bytes(damage)
        caplog.clear()
        assert_equal(weights.load("so3lr"), small_so3lr.made)
        assert str(small_so3lr.cached) in caplog.text
        assert small_so3lr.cached.read_bytes() == whole


def test_cache_that_cannot_be_written_is_not_fatal(small_so3lr, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TOPOKRATES_CACHE", str(tmp_path / "file" / "cache"))
    assert_equal(weights.load("so3lr"), small_so3lr.made)
    assert "not kept" in caplog.text


def test_installed_package_is_read_and_not_imported(small_so3lr, tmp_path, monkeypatch):
    file = tmp_path / "site" / weightfile.SO3LR_MEMBER
    file.parent.mkdir(parents=True)
    file.write_bytes(small_so3lr.model)
    package = tmp_path / "site" / "so3krates_torch"
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.undo()
    monkeypatch.setattr(parameters, "SO3LR_SHA256", small_so3lr.made.sha256)
    monkeypatch.setenv("TOPOKRATES_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = weights.load("so3lr")
    assert_equal(found, small_so3lr.made)
    assert found.source == str(file)
    assert "so3krates_torch" not in sys.modules
    assert not small_so3lr.cached.exists()


def test_wheel_with_other_bytes_is_refused(small_so3lr, monkeypatch):
    monkeypatch.setattr(so3lr, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"wheel fetched .* sha256"):
        weights.load("so3lr")
    assert not small_so3lr.cached.exists()


@pytest.mark.parametrize(
    "outcome",
    [
        subprocess.CompletedProcess(
            [], 1, "", "WARNING: retrying\nERROR: No matching distribution"
        ),
        subprocess.CompletedProcess([], 1, "", "python: No module named pip"),
        subprocess.TimeoutExpired("pip", 300),
        OSError("no such program"),
    ],
)
def test_without_network_the_error_names_the_other_ways(small_so3lr, monkeypatch, outcome):
    monkeypatch.setattr(so3lr.subprocess, "run", mock.Mock(side_effect=[outcome]))
    with pytest.raises(InputError) as caught:
        weights.load("so3lr")
    message = str(caught.value)
    assert "\n" not in message
    for way in ("--model", "pip install", str(small_so3lr.cached.parent)):
        assert way in message
    if isinstance(outcome, subprocess.CompletedProcess):
        assert outcome.stderr.splitlines()[-1] in message


def test_wheel_is_a_path_that_can_be_given(small_so3lr, tmp_path):
    (tmp_path / "so3krates_torch.whl").write_bytes(small_so3lr.wheel)
    assert_equal(weights.load(tmp_path / "so3krates_torch.whl"), small_so3lr.made)


def test_real_so3lr():
    cached = weights.cache_folder() / "so3lr.safetensors"
    if not cached.is_file():
        pytest.skip("SO3LR is not in the cache")
    found = weights.load(cached)
    assert found.sha256 == parameters.SO3LR_SHA256
    assert found.name == "so3lr"
    assert found.elements == parameters.SO3LR_ELEMENTS
    assert sum(array.size for array in parameters.flatten(found.params).values()) == 531_373
