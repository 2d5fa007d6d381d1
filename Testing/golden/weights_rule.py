"""The rule behind every weight in this folder: a tensor's values follow from its name alone.

A 1-D tensor whose module is a normalisation gets 1 + 0.1 n (weight) or 0.05 n (bias); any other 1-D
tensor 0.05 n; any other tensor n / sqrt(product of shape[1:]); n are standard normal numbers drawn,
as float32, from numpy's default_rng seeded with crc32("<salt>:<name>"). Running means are 0.1 n,
running variances 1 + 0.1 |n|, and num_batches_tracked is 7.
"""

import math
import zlib

import numpy as np


def tensor(name, shape, salt="rela"):
    rng = np.random.default_rng(zlib.crc32(f"{salt}:{name}".encode()))
    if name.endswith("num_batches_tracked"):
        return np.array(7, dtype=np.int64)
    n = rng.standard_normal(tuple(shape)).astype(np.float32)
    if name.endswith("running_mean"):
        return 0.1 * n
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(n)
    if len(shape) == 1:
        is_norm = "norm" in name or ".N." in name or name.startswith("out.0")
        return (1 + 0.1 * n) if (is_norm and name.endswith("weight")) else 0.05 * n
    return n / np.float32(math.sqrt(math.prod(shape[1:])))
