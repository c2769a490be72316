"""so3krates-torch in an environment of its own: one JSON request a line in, one answer a line out.

Run by `peers.client` with the interpreter of an environment that has `so3krates-torch` 0.2.1, and
with it ASE; nothing of topokrates is imported here. What is timed is the package's own network on
batches that its own data loader made: neighbour lists and batches are built before the clock
starts, parameters need no gradient, and the network is in evaluation mode.

Long range takes every pair: the loader lists all of them (a cutoff of 1000 Å), and the network's
own cutoff is none, so that both programs compute the same energy.
"""

# pyright: reportMissingImports=false, reportArgumentType=false

import base64
import contextlib
import io
import json
import os
import sys
import time
import traceback

REACH = 1000.0  # Å: every pair of a molecule


def main() -> None:
    # the package prints to standard output, which is kept for the answers
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(int(os.environ.get("OMP_NUM_THREADS", "0")))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, "do_" + request.pop("do"))(**request)
        except Exception as error:  # told to the other side, which decides
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"}
        answers.write(json.dumps(answer) + "\n")


def pack(array):
    import numpy as np

    array = np.ascontiguousarray(array, "<f8")
    return {"shape": array.shape, "data": base64.b64encode(array.tobytes()).decode()}


def unpack(packed):
    import numpy as np

    return np.frombuffer(base64.b64decode(packed["data"]), "<f8").reshape(packed["shape"]).copy()


class Worker:
    """Holds the network and the batch that are being timed."""

    def __init__(self, threads):
        import torch

        self.torch = torch
        if threads:
            torch.set_num_threads(threads)
        self.device = "cuda" if os.environ.get("BENCHMARK_DEVICE") == "gpu" else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = False
        self.models, self.batches = {}, {}

    def do_hello(self):
        from importlib.metadata import version

        names = ("torch", "so3krates-torch", "ase", "numpy")
        return {
            "versions": {name: version(name) for name in names},
            "threads": self.torch.get_num_threads(),
            "device": self.device,
        }

    def do_network(self, name, compiled=False):
        """Loads or makes one of "so3lr", "so3lr-short", "journal", in float32.

        It is held as it is and, if `compiled`, a second time behind `torch.compile`.
        """
        torch = self.torch
        torch.set_default_dtype(torch.float32)
        torch.compiler.reset()
        self.models, self.batches = {}, {}
        self.models["eager"] = model = self._make(name)
        if compiled:
            self.models["compiled"] = torch.compile(self._make(name), dynamic=True)
        self.cutoff = float(model.r_max)
        return {"parameters": sum(parameter.numel() for parameter in model.parameters())}

    def _make(self, name):
        torch = self.torch
        self.long_range = name == "so3lr"
        if name == "journal":
            model = self._journal()
        else:
            model = torch.load(so3lr_path(), map_location="cpu", weights_only=False)
            model.r_max_lr = None
            if not self.long_range:
                model.electrostatic_energy_bool = model.dispersion_energy_bool = False
                model.use_lr = False
        model = model.to(self.device).eval()
        for parameter in model.parameters():
            parameter.requires_grad = False
        return model

    def _journal(self):
        """The journal's sizes; its radial functions are not among the package's: Gaussians."""
        from so3krates_torch.modules.models import So3krates

        self.torch.manual_seed(0)
        return So3krates(
            r_max=5.0,
            num_radial_basis_fn=32,
            degrees=[1, 2, 3],
            num_features=132,
            num_heads=4,
            num_layers=3,
            message_normalization="sqrt_num_features",
            radial_basis_fn="gaussian",
            cutoff_fn="cosine",
            final_mlp_layers=2,
            dtype="float32",
        )

    def do_batch(self, key, numbers, positions):
        """Builds a batch of structures of one molecule, and how many edges it has."""
        from ase import Atoms
        from so3krates_torch.data.atomic_data import AtomicData
        from so3krates_torch.data.utils import KeySpecification, config_from_atoms
        from so3krates_torch.tools import torch_geometric, utils

        table = utils.AtomicNumberTable([int(z) for z in range(1, 119)])
        specification = KeySpecification(
            info_keys={"energy": "REF_energy", "total_charge": "charge"},
            arrays_keys={"forces": "REF_forces"},
        )
        reach = REACH if self.long_range else None
        data = [
            AtomicData.from_config(
                config_from_atoms(Atoms(numbers, x), key_specification=specification),
                z_table=table,
                cutoff=self.cutoff,
                cutoff_lr=reach,
            )
            for x in unpack(positions)
        ]
        loader = torch_geometric.dataloader.DataLoader(
            dataset=data, batch_size=len(data), shuffle=False, drop_last=False
        )
        batch = next(iter(loader)).to(self.device)
        self.batches[key] = batch.to_dict(), len(data)
        return {"edges": int(batch.edge_index.shape[1])}

    def _evaluate(self, model, key):
        data, _ = self.batches[key]
        out = self.models[model](data, compute_stress=False)
        # as our side does: results are numbers on the host
        return out["energy"].detach().cpu().numpy(), out["forces"].detach().cpu().numpy()

    def do_time(self, model, key, least=0.25):
        """Seconds per call, the mean over calls of at least `least` seconds together."""
        start, calls = time.perf_counter(), 0
        while True:
            self._evaluate(model, key)
            calls += 1
            spent = time.perf_counter() - start
            if spent >= least:
                return {"seconds": spent / calls, "calls": calls}

    def do_evaluate(self, model, key):
        energies, forces = self._evaluate(model, key)
        count = self.batches[key][1]
        return {"energies": pack(energies), "forces": pack(forces.reshape(count, -1, 3))}

    # --- descents with the package's own ASE calculator -----------------------------------------

    def do_calculators(self):
        """Makes SO3LR's calculators in float32 (descents) and float64 (polish), all pairs."""
        from so3krates_torch.calculator.so3 import TorchkratesCalculator

        self.calculators = {}
        for dtype in ("float32", "float64"):
            with contextlib.redirect_stdout(io.StringIO()):
                calculator = TorchkratesCalculator(
                    model_paths=so3lr_path(),
                    r_max_lr=REACH,
                    default_dtype=dtype,
                    device=self.device,
                )
            model = calculator.models[0]
            model.eval()
            model.r_max_lr = None
            self.calculators[dtype] = calculator
        return {}

    def do_descend(self, numbers, positions, fmax, max_steps, dtype="float32"):
        """L-BFGS of ASE with its defaults."""
        from ase import Atoms
        from ase.optimize import LBFGS

        self.torch.set_default_dtype(getattr(self.torch, dtype))
        calculator = self.calculators[dtype]
        calculator.reset()
        atoms = Atoms(numbers, unpack(positions))
        atoms.calc = calculator
        start = time.perf_counter()
        optimiser = LBFGS(atoms, logfile=None)
        converged = optimiser.run(fmax=fmax, steps=max_steps)
        return {
            "seconds": time.perf_counter() - start,
            "converged": bool(converged),
            "calls": optimiser.nsteps + 1,
            "positions": pack(atoms.positions),
            "energy": float(atoms.get_potential_energy()),
        }

    def do_hessian(self, numbers, positions):
        """The package's own analytic Hessian, in float64."""
        from ase import Atoms

        self.torch.set_default_dtype(self.torch.float64)
        atoms = Atoms(numbers, unpack(positions))
        start = time.perf_counter()
        hessian = self.calculators["float64"].get_hessian(atoms)
        size = 3 * len(atoms)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "hessian": pack(hessian.reshape(size, size))}


def so3lr_path():
    import importlib.resources

    return str(importlib.resources.files("so3krates_torch") / "pretrained/so3lr/so3lr.model")


if __name__ == "__main__":
    main()
