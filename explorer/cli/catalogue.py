"""The models known by name, for people: where they are and what they know. Fetches nothing."""

from importlib.util import find_spec
from typing import Any

from topokrates.model.models import TBLITE_METHODS
from topokrates.model.weights import available

HEAVIEST_OF_XTB = 86  # radon
CITATIONS = {
    "GFN2-xTB": "Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15, 1652 (2019)",
    "GFN1-xTB": "Grimme, Bannwarth, Shushkov, J. Chem. Theory Comput. 13, 1989 (2017)",
    "IPEA1-xTB": "Asgeirsson, Bauer, Grimme, Chem. Sci. 8, 4879 (2017)",
}


def catalogue() -> list[dict[str, Any]]:
    """One dictionary per model: name, found, elements (atomic numbers), licence, citation.

    No elements: identical particles.
    """
    rows = available()
    rows.append(
        {
            "name": "LJ",
            "found": "built in",
            "elements": [],
            "licence": "MIT",
            "citation": "Lennard-Jones, Proc. Phys. Soc. 43, 461 (1931)",
        }
    )
    installed = find_spec("tblite") is not None
    for method in TBLITE_METHODS:
        rows.append(
            {
                "name": f"tblite:{method}",
                "found": "installed" if installed else "pip install 'topokrates[xtb]'",
                "elements": list(range(1, HEAVIEST_OF_XTB + 1)),
                "licence": "LGPL-3.0-or-later",
                "citation": CITATIONS[method],
            }
        )
    return rows
