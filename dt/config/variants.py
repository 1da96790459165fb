"""Variants of the model that have names: the flags of `dt train` that make each of them."""

from __future__ import annotations

VARIANTS: dict[str, tuple[str, ...]] = {
    "dt": ("--model.layout", "return-observation-action"),
    "bc": ("--model.layout", "observation-action"),
    "top10": ("--model.layout", "observation-action", "--data.top-fraction", "0.1"),
    "rvs": ("--model.layout", "return+observation", "--model.context-length", "1"),
    "fused": ("--model.layout", "fused"),
    "added": ("--model.conditioning", "added"),
    "adaln": ("--model.conditioning", "adaln"),
    "returns": ("--model.layout", "observation-return-action"),
}
"""dt: the return, what is seen and what is done in turn (Chen et al. 2021). bc: behaviour cloning.
top10: that of the tenth of the episodes with the highest returns. rvs: a network of one return and
one observation (Emmons et al. 2022). fused: one token a step. added, adaln: the return in the
observation's token, or in every block's norms. returns: the return is predicted too."""
