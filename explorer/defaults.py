"""What `explore` does unless told otherwise; apart, so that a help text can show it at once."""

AUTO = "auto"  # the model that fits the molecule: see `choice`
MODEL = AUTO
LABELS = "so3lr"  # the model that labels a dataset

# A dihedral move costs no gradient, an escape by dynamics some 170: 160 quenches of Ac-Ala-NHMe, at
# 37 gradients each, find six or seven of its seven minima, and connecting them meets the rest;
# minima hopping had the seven after 59 quenches of 210.
SEARCHER = "basin-hopping"
WALKERS = 8
QUENCHES = 160
