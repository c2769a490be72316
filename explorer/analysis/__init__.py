"""Thermodynamics and kinetics of a landscape, in the harmonic superposition.

    landscape.heat_capacity(range(100, 600, 10))
    landscape.free_energies(300)
    landscape.rates(300)
    landscape.passage(1, 2, 300)

`vibrations` and `point_group` look at one structure, `thermodynamics` sums over minima, `kinetics`
makes rates of transition states, `passage` turns rates into times and ways, by `elimination`.
`harmonics` fetches what a landscape's structures need, and keeps it in the database; `tables` are
the answers for people. Only frequencies that are missing need the potential, and time.
"""
