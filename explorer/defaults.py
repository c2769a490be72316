"""What `explore` does unless told otherwise; apart, so that a help text can show it at once."""

MODEL = "so3lr"

# A dihedral move costs no gradient, an escape by dynamics some 170: basin hopping had all seven
# minima of Ac-Ala-NHMe after 34, 82 and 141 quenches (three seeds) of 43 gradients each, minima
# hopping after 59 of 210.
SEARCHER = "basin-hopping"
WALKERS = 8
QUENCHES = 160
