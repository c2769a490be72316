"""The command `topokrates`: a thin shell over the Python API.

`app` declares the commands and their options, `commands`, `analysis` and `connect` do them,
`listing` prints tables, `terminal` shows progress and turns errors into one line and exit code 2.
"""
