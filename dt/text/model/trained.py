"""Which of a language model's parameters are trained: all, the last blocks, or adapters."""

from __future__ import annotations

import jax
from jax.tree_util import DictKey, GetAttrKey, KeyEntry, SequenceKey

from dt.config.language_model import Trained
from dt.model.params import Params

RETURN = ("return_hidden", "returns")  # modules that the return goes through
ADAPTERS = ("adapter_in", "adapter_out")


def trained_mask(
    params: Params, trained: Trained, num_blocks: int = 1, within: tuple[str, ...] = ()
) -> Params:
    """Say of each parameter whether it is trained: a tree as of the parameters, of Booleans.

    What the return goes through is always trained, as far as what follows it lets a gradient back:
    with 'blocks' in the last blocks alone, so that nothing is computed backwards below them.

    Args:
        trained: 'blocks': the last `num_blocks` and the norm behind them; 'adapters': what
            `adapter_rank` has added; 'return': nothing but the return's.
        within: where the language model stands in a larger one, whose rest is trained.

    Raises:
        ValueError: when the model has no adapters, or fewer blocks.
    """
    outside, depth = ("outside",), len(within)

    def place(path: tuple[KeyEntry, ...]) -> tuple[str, ...]:
        names = names_of(path)
        return names[depth:] if names[:depth] == within else outside

    paths = [place(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    count = 1 + max(int(path[1]) for path in paths if path[0] == "blocks")
    if trained == "adapters" and not any(set(ADAPTERS) & set(path) for path in paths):
        raise ValueError("only adapters are trained, but model.adapter_rank is 0; give it a rank")
    if trained == "blocks" and num_blocks > count:
        raise ValueError(f"the last {num_blocks} blocks are trained, but the model has {count}")

    def is_trained(path: tuple[str, ...]) -> bool:
        of_return = bool(set(RETURN) & set(path))
        if trained == "all" or path == outside:
            return True
        if trained == "blocks":
            last = path[0] == "blocks" and int(path[1]) >= count - num_blocks
            return last or path[0] in ("norm", "return_hidden")
        return of_return or (trained == "adapters" and bool(set(ADAPTERS) & set(path)))

    return jax.tree_util.tree_map_with_path(lambda path, _: is_trained(place(path)), params)


def hold(params: Params, mask: Params) -> Params:
    """Let no gradient come to the parameters that are not trained."""
    return jax.tree.map(
        lambda leaf, trained: leaf if trained else jax.lax.stop_gradient(leaf), params, mask
    )


def names_of(path: tuple[KeyEntry, ...]) -> tuple[str, ...]:
    """Spell the path of a parameter: ("blocks", "3", "qkv", "base", "kernel")."""
    names = []
    for key in path:
        if isinstance(key, DictKey):
            names.append(str(key.key))
        elif isinstance(key, SequenceKey):
            names.append(str(key.idx))
        elif not (isinstance(key, GetAttrKey) and key.name in ("value", "raw_value")):
            names.append(str(getattr(key, "name", key)))
    return tuple(names)
