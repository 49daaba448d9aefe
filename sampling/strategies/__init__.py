"""Choosing from a pool, one numeric function `choose` per module: arrays in, positions `(k,)` in order of choosing out.

Each is told the candidates as unit vectors `(N, D)` and at most `N` as `k`; the same arrays and seed give the same
positions, ties go to the smaller one, and none comes twice. What is labelled is another array and is never chosen.
"""
