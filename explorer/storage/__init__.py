"""The database file of a landscape: `store` writes and reads, `records` is what it holds.

`database` has the tables, `migrations` brings an older file up to them, `sqlite` knows the ways of
that one program: locks, full disks, torn files.
"""
