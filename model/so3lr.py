"""Where the weights of SO3LR are, which is not shipped.

They come from an installed so3krates-torch, from the user's cache, or from the wheel of that
package (3 MB), which pip fetches; checked, converted once and cached.
"""

import hashlib
import importlib.util
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from topokrates.model import parameters
from topokrates.model.errors import InputError
from topokrates.model.parameters import Weights
from topokrates.model.weightfile import SO3LR_MEMBER, convert, read, save, wheel_member

REQUIREMENT = "so3krates-torch==0.2.1"
WHEEL_SHA256 = "1e3aea516997290462a280a64486ce022472dbe1edbdab81f8446587a61899d2"
FILE_SHA256 = "b5145564911ff983ed076ccb2bca5ce63454b74c9c8291092695463f1e6732be"

_log = logging.getLogger(__name__)


def installed() -> Path | None:
    """SO3LR's file in an installed so3krates_torch, which is not imported."""
    try:
        spec = importlib.util.find_spec("so3krates_torch")
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder).parent / SO3LR_MEMBER
        if path.is_file():
            return path
    return None


def find(cached: Path, progress: Callable[[str], None]) -> Weights:
    """The weights, from wherever they are first found; `cached` is where they are kept.

    `progress` is called with one line before anything slow. Raises `InputError`.
    """
    for path in (installed(), cached if cached.is_file() else None):
        try:
            if path and (weights := read(path)).sha256 == parameters.SO3LR_SHA256:
                return weights
            problem = f"{path} is not the SO3LR of {REQUIREMENT}"
        except InputError as error:
            problem = str(error)
        if path:
            _log.warning("%s; looking elsewhere", problem)
    progress("fetching SO3LR weights (3 MB)")
    weights = convert("so3lr", REQUIREMENT, _fetch(cached))
    if weights.sha256 != parameters.SO3LR_SHA256:
        raise InputError("the converted SO3LR weights differ from the expected ones")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        save(weights, cached)
    except (InputError, OSError) as error:
        _log.warning("SO3LR weights are not kept for the next time: %s", error)
    return weights


def _fetch(cached: Path) -> bytes:
    """The bytes of SO3LR's torch file, from the wheel that pip downloads, checked."""
    with tempfile.TemporaryDirectory() as folder:
        # -P: a pip.py in the working folder is not pip. A wheel only: nothing is built or run.
        command = [sys.executable, "-P", "-m", "pip", "download", REQUIREMENT, "--no-deps"]
        command += ["--only-binary=:all:", "--disable-pip-version-check", "--no-input", "-q"]
        command += ["--timeout=20", "--retries=2", f"--dest={folder}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=300, check=False
            )
            failed, lines = done.returncode != 0, done.stderr.strip().splitlines()
            reason = next((x for x in reversed(lines) if x.strip()), "pip failed")
        except subprocess.TimeoutExpired:
            failed, reason = True, "no answer within 5 minutes"
        except OSError as error:
            failed, reason = True, str(error)
        wheels = sorted(Path(folder).glob("*.whl"))
        if failed or not wheels:
            raise InputError(
                f"no SO3LR weights here, and fetching them failed ({reason.strip()}): give a file "
                f"with --model PATH (the wheel of {REQUIREMENT}, its so3lr.model, params.pkl "
                f"or a .safetensors file), or pip install --no-deps {REQUIREMENT}, or put "
                f"so3lr.safetensors into {cached.parent}"
            )
        wheel = wheels[0].read_bytes()
    member = wheel_member(wheel)
    for what, data, expected in (
        ("wheel", wheel, WHEEL_SHA256),
        ("weights file", member or b"", FILE_SHA256),
    ):
        if (found := hashlib.sha256(data).hexdigest()) != expected:
            raise InputError(
                f"the {what} fetched for {REQUIREMENT} has sha256 {found}, not {expected}"
            )
    return member or b""
