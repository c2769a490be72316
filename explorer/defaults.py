"""What `explore` does unless told otherwise; apart, so that a help text can show it at once."""

MODEL = "so3lr"

# A dihedral move costs no gradient, an escape by dynamics some fifty, and a small peptide is
# crossed by dihedral moves in a few steps: basin hopping found all seven minima of Ac-Ala-NHMe
# within 82 quenches from each of three seeds.
SEARCHER = "basin-hopping"
WALKERS = 8
QUENCHES = 160
