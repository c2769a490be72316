"""Molecular dynamics of many replicas side by side, and how long molecules last in it.

`integrators` has the equations of motion, `trajectory` the file of frames, `run` the loop over
steps with checkpoints, `stability` what became of the replicas.
"""
