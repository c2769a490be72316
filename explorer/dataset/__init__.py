"""Labelled structures of many molecules, to train networks with.

`sampling` draws structures of one molecule from everywhere that a search or dynamics may lead,
`make` does it for many molecules in parallel processes, labels them with any force field, and can
be killed and go on.
"""
