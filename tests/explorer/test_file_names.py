"""Names of molecules as names of files."""

import re

import pytest

from topokrates.cli.commands import file_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Ac-Ala-NHMe", "Ac-Ala-NHMe"),
        ("LJ13", "LJ13"),
        ("smiles:CCO", "smiles-CCO"),
        ("../../etc/x", r"etc_x-[0-9a-f]{6}"),
        ("smiles:C/C=C/C", r"smiles-C_C_C_C-[0-9a-f]{6}"),
    ],
)
def test_names_make_safe_file_names(name, expected):
    assert re.fullmatch(expected, file_name(name))
    assert file_name("smiles:C/C=C/C") != file_name("smiles:C/C=C\\C")
