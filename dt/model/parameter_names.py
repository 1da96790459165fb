"""Names of parameters that other rooms tell apart: what a mesh divides, and what decays.

They are attributes of the modules in this room: whoever renames one there renames it here, and
`dt.parallel.mesh.shardings` and `dt.training.optimizer.decay_mask` refuse a name that matches none.
"""

from __future__ import annotations

from collections.abc import Mapping

KERNEL, BIAS = "kernel", "bias"  # of a linear layer: (inputs, outputs) and (outputs,)

# Words that all stand in a parameter's path -> the axis that is divided over the mesh's `model`.
# Matrices of a block come in pairs, around attention and around the MLP's activation: the first of
# a pair is divided by its outputs, the second by its inputs.
DIVIDED: Mapping[tuple[str, ...], int] = {
    ("blocks", "qkv", KERNEL): 1,
    ("blocks", "qkv", BIAS): 0,
    ("blocks", "out", KERNEL): 0,
    ("blocks", "expand", KERNEL): 1,
    ("blocks", "expand", BIAS): 0,
    ("blocks", "contract", KERNEL): 0,
}


def divided_names(attends: bool) -> Mapping[tuple[str, ...], int]:
    """Leave those of attention out for a model of single tokens, which has none."""
    names = DIVIDED.items()
    return {words: axis for words, axis in names if attends or words[1] not in ("qkv", "out")}
