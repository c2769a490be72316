"""Other programs from here: processes of other environments that answer in JSON."""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self

import numpy as np

from topokrates.model.errors import InputError


class PeerError(Exception):
    """What the other program said when it failed, in one line."""


class Peer:
    """A worker of this folder in another environment; use it in a `with`.

    Args:
        interpreter: Python of that environment.
        worker: file of this folder.
        package: what the environment must have, for the message if it has not.
        threads: cores it may use; None for all.
        environment: further variables.

    `about` is what the worker says of itself.

    Raises:
        InputError: where there is no such interpreter, or it lacks the package.
    """

    def __init__(
        self,
        interpreter: str,
        worker: str,
        package: str,
        threads: int | None,
        environment: dict[str, str] | None = None,
    ):
        variables = os.environ | (environment or {})
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            variables.pop(name, None)
            if threads is not None:
                variables[name] = str(threads)
        try:
            self._process = subprocess.Popen(
                [interpreter, str(Path(__file__).with_name(worker))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=variables,
            )
        except OSError as error:
            raise InputError(f"cannot run {interpreter}: {error.strerror}") from error
        try:
            self.about = self.ask("hello")
        except PeerError as error:
            self.close()
            raise InputError(f"{interpreter} has no {package}: {error}") from error

    def __enter__(self) -> Self:
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
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise PeerError(f"it said {line.strip()[:80]!r} during {what}") from error
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer


class Torch(Peer):
    """so3krates-torch on a device, "cpu" or "gpu"; see `Peer`."""

    def __init__(self, interpreter: str, threads: int | None, device: str = "cpu"):
        super().__init__(
            interpreter,
            "torch_worker.py",
            "so3krates-torch",
            threads,
            {"BENCHMARK_DEVICE": device},
        )


class Pele(Peer):
    """pele 0.1.2 in one thread; see `Peer`."""

    def __init__(self, interpreter: str):
        super().__init__(interpreter, "pele_worker.py", "pele 0.1.2 (pip install pele)", 1)


def pack(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON: float64, exactly."""
    array = np.ascontiguousarray(array, "<f8")
    return {"shape": array.shape, "data": base64.b64encode(array.tobytes()).decode()}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """The inverse of `pack`."""
    data = np.frombuffer(base64.b64decode(packed["data"]), "<f8")
    return data.reshape(packed["shape"]).copy()
