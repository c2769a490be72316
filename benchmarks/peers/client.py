"""so3krates-torch from here: a process of another environment that answers in JSON."""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from topokrates.model.errors import InputError

WORKER = Path(__file__).with_name("torch_worker.py")


class PeerError(Exception):
    """What the other program said when it failed, in one line."""


class Torch:
    """so3krates-torch as an object; use it in a `with`.

    Args:
        interpreter: Python of an environment that has so3krates-torch.
        threads: cores it may use; None for all.
        device: "cpu" or "gpu".

    Raises:
        InputError: where there is no such interpreter, or it lacks the package.
    """

    def __init__(self, interpreter: str, threads: int | None, device: str = "cpu"):
        environment = dict(os.environ, BENCHMARK_DEVICE=device)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment.pop(name, None)
            if threads is not None:
                environment[name] = str(threads)
        try:
            self._process = subprocess.Popen(
                [interpreter, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        except OSError as error:
            raise InputError(f"cannot run {interpreter}: {error.strerror}") from error
        try:
            self.about = self.ask("hello")
        except PeerError as error:
            self.close()
            raise InputError(f"{interpreter} has no so3krates-torch: {error}") from error

    def __enter__(self) -> "Torch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Sends one request; arrays go in packed by `pack`. `PeerError` where it failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"it ended during {what}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer


def pack(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON: float64, exactly."""
    array = np.ascontiguousarray(array, "<f8")
    return {"shape": array.shape, "data": base64.b64encode(array.tobytes()).decode()}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The inverse of `pack`."""
    data = np.frombuffer(base64.b64decode(packed["data"]), "<f8")
    return data.reshape(packed["shape"]).copy()
