import sys

import numpy as np

sys.path.insert(0, "/work/trees/m2")


def near_duplicates(v, t):
    from benchmarks.folds import near_duplicates as f

    return f(v, t)


def groups_of(pairs, num):
    u = np.arange(num)
    for a, b in pairs:
        u[u == u[b]] = u[a]
    return u
