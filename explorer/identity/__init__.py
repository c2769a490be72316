"""Is this the molecule, and is it new.

`integrity` compares bonds and stereo with those of the molecule; `matching` finds the smallest RMSD
over rotations and equivalent atoms, with `symmetry` for molecules, `clusters` for like particles
and `superposition` for both; `index` keeps the minima of a landscape and prefilters by energy and
fingerprint.
"""
