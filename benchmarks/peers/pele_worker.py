"""pele's basin hopping in an environment of its own: one JSON request a line in, one answer out.

Run by `peers.client` with the interpreter of an environment that has `pele` 0.1.2; nothing of
topokrates is imported here. A walk is what pele's documentation shows for Lennard-Jones clusters:
`LJCluster(n).get_basinhopping()`, with every setting left as it is. To begin with, that is random
displacements of 0.6 and acceptance at a temperature of 1, both adapted every 100 steps. Quenches
are by pele's L-BFGS in C++ to a root mean square of 1e-5. Minima are not stored, so that no time is
spent on it.
"""

# pyright: reportMissingImports=false

import json
import os
import sys
import time
import traceback


def main() -> None:
    # pele prints to standard output, which is kept for the answers
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = TASKS[request.pop("do")](**request)
        except Exception as error:  # told to the other side, which decides
            traceback.print_exc()
            said = (str(error).splitlines() or [""])[0][:300]
            answer = {"error": f"{type(error).__name__}: {said}"}
        answers.write(json.dumps(answer) + "\n")


def hello():
    from importlib.metadata import version

    from pele.systems import LJCluster

    return {
        "versions": {name: version(name) for name in ("pele", "numpy", "scipy")},
        "temperature": float(LJCluster(4).params.basinhopping["temperature"]),
    }


def walk(size, seed, target, limit):
    """One walker from a random start, until a quench ends below the target or the limit is reached.

    The first quench is that of the start. `met` is the number of the quench, or 0.
    """
    import numpy as np
    from pele.systems import LJCluster

    np.random.seed(seed)  # noqa: NPY002 (pele draws from it)
    began = time.perf_counter()
    walker = LJCluster(size).get_basinhopping(add_minimum=_forget, outstream=None)
    quenches, energy = 1, float(walker.markovE)
    while not energy < target and quenches < limit:
        walker.run(1)
        quenches, energy = quenches + 1, float(walker.trial_energy)
    return {
        "met": quenches if energy < target else 0,
        "quenches": quenches,
        "energy": energy,
        "calls": int(walker.result.nfev),
        "seconds": time.perf_counter() - began,
    }


def _forget(energy, coordinates):
    """Stores nothing."""


def join(size, minima, pairs):
    """Double-ended connect runs between pairs of minima, as pele chooses all settings.

    One database for all. `transition_states` are structures, `calls` gradients (and energies).
    """
    import numpy as np
    from pele.potentials import LJ, BasePotential
    from pele.systems import LJCluster

    class Counted(BasePotential):
        def __init__(self):
            self.potential, self.calls = LJ(), 0

        def getEnergy(self, x):
            self.calls += 1
            return self.potential.getEnergy(x)

        def getEnergyGradient(self, x):
            self.calls += 1
            return self.potential.getEnergyGradient(x)

    class Cluster(LJCluster):
        def get_potential(self):
            return counted

    np.random.seed(0)  # noqa: NPY002 (pele draws from it)
    counted, began = Counted(), time.perf_counter()
    cluster = Cluster(size)
    database = cluster.create_database()
    known = [database.addMinimum(energy, np.array(x).ravel()) for energy, x in minima]
    joined = 0
    for a, b in pairs:
        run = cluster.get_double_ended_connect(known[a], known[b], database, verbosity=0)
        run.connect()
        joined += bool(run.success())
    return {
        "joined": joined,
        "transition_states": [
            ts.coords.reshape(-1, 3).tolist() for ts in database.transition_states()
        ],
        "calls": counted.calls,
        "seconds": time.perf_counter() - began,
    }


TASKS = {"hello": hello, "walk": walk, "join": join}

if __name__ == "__main__":
    main()
