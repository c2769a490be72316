"""`topokrates train` as a user meets it: what it refuses, and kill -9."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from topokrates.cli.app import main
from topokrates.model import weights
from topokrates.model.parameters import flatten

CONFIG = """
[data]
files = ["train.npz"]
validation = 4

[network]
features = 8
layers = 1
heads = 2
degrees = [1, 2]
radial_functions = 8
energy_hidden = 8
cutoff = 4.0
zbl = false

[optimiser]
steps = {steps}
batch = 4
warmup = 3

[run]
validate_every = 20
checkpoint_every = 5
"""


@pytest.fixture
def folder(tmp_path, labelled, save_npz, monkeypatch):
    save_npz(tmp_path / "train.npz", labelled(12, sizes=(5,)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("steps = 20", "stepps = 20"), "optimiser.stepps is not a setting"),
        (("batch = 4", "batch = 0"), "optimiser.batch is 0"),
        (("train.npz", "none.npz"), "none.npz"),
        (("validation = 4", "validation = 40"), "40"),
        (("features = 8", "features = 9"), "features"),
        (("[data]", "[data"), "small.toml"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, capsys, change, said):
    (folder / "small.toml").write_text(CONFIG.format(steps=20).replace(*change))
    assert main(["train", "small.toml"]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.strip().splitlines()[-1].startswith("topokrates: ")
    assert "Traceback" not in captured.err
    assert not captured.out


COMMAND = [
    sys.executable,
    "-c",
    "import sys; from topokrates.cli.app import main; sys.exit(main())",
    "train",
    "small.toml",
]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["adam", "muon"])
def test_devices_share_batches_and_change_nothing(folder, method):
    text = CONFIG.format(steps=40).replace("[optimiser]", f'[optimiser]\nmethod = "{method}"')
    (folder / "small.toml").write_text(text)
    found = []
    for count in (1, 2, 4, 3):  # three do not divide a batch of four: two are taken
        out = f"on{count}"
        flags = f"--xla_force_host_platform_device_count={count}"
        subprocess.run(
            [*COMMAND, "-o", out],
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"XLA_FLAGS": flags},
        )
        found.append(flatten(weights.load(folder / out / "last.safetensors").params))
    for other in found[1:]:
        for name, values in found[0].items():
            np.testing.assert_allclose(other[name], values, atol=2e-4, err_msg=name)


@pytest.mark.slow
def test_kills_change_nothing(folder):
    command = [*COMMAND, "-o"]
    (folder / "small.toml").write_text(CONFIG.format(steps=400))
    rng = np.random.default_rng(0)
    history = folder / "killed" / "history.csv"
    killed = 0
    for _ in range(4):
        with subprocess.Popen(
            [*command, "killed"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            before = history.read_text() if history.exists() else ""
            deadline = time.monotonic() + 200
            while process.poll() is None and time.monotonic() < deadline:
                if history.exists() and history.read_text() != before:
                    time.sleep(rng.uniform(0, 0.05))
                    process.send_signal(signal.SIGKILL)
                    killed += 1
                    break
                time.sleep(0.005)
    assert killed >= 2
    for out in ("killed", "whole"):
        subprocess.run([*command, out], check=True, stdout=subprocess.DEVNULL)
    assert history.read_text() == (folder / "whole" / "history.csv").read_text()
    found = [weights.load(folder / out / "best.safetensors").sha256 for out in ("killed", "whole")]
    assert found[0] == found[1]
