"""Paths between minima: interpolation, bands, saddles, and what to connect next."""
