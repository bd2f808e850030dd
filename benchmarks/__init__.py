"""Comparisons with code written by hand and with peers, run by hand: see docs/measurements.md."""
