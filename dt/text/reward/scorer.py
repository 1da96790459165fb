"""A trained reward model at work: it scores texts, as a judge or to label what has no votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.checkpoint.arrays import read
from dt.checkpoint.load import find_checkpoint, require_finite, require_stored
from dt.files import reading
from dt.model.params import Params
from dt.text.data.posts import Posts
from dt.text.reward.model import RewardModel, abstract_reward_model
from dt.text.reward.rows import reward_batch, rows_of_posts
from dt.text.reward.spec import RewardSpec, load_reward_spec

ROWS = 64  # texts at a time; the last batch is filled up, so that few programs serve all


@dataclass(frozen=True, eq=False)
class Scorer:
    """The weights of a checkpoint, and what goes with them."""

    spec: RewardSpec
    params: Params
    name: str = ""
    """Of the checkpoint, for cards."""

    def __call__(
        self, texts: Sequence[str], prompts: Sequence[str] = ()
    ) -> Float[np.ndarray, " n"]:
        """Score texts: in transformed scores, or of pairs in log-odds of being chosen.

        Args:
            prompts: what each answers; none, or one each.
        """
        if not len(texts):
            return np.zeros(0)
        posts = Posts("texts", tuple(texts), np.zeros(len(texts)), tuple(prompts))
        rows, _ = rows_of_posts(
            posts, np.zeros(len(texts)), self.spec.tokenizer, self.spec.model.longest
        )
        graph = nnx.graphdef(abstract_reward_model(self.spec.model))
        # In the order of lengths, and a batch as long as its longest, of few lengths.
        order, found = np.argsort(rows.lengths[:, 0], kind="stable"), np.empty(len(texts))
        for begin in range(0, len(texts), ROWS):
            numbers = np.resize(order[begin : begin + ROWS], ROWS)
            width = min(_rounded(int(rows.lengths[numbers].max())), rows.tokens.shape[-1])
            batch = reward_batch(rows, numbers)
            scored = _score(graph, self.params, batch.tokens[:, 0, :width], batch.own[:, 0, :width])
            found[numbers] = np.asarray(scored)
        return found * self.spec.scale.deviation + self.spec.scale.mean


def load_scorer(run_dir: Path, checkpoint: str | int = "last") -> Scorer:
    """Load a reward model from a run directory, verified against its manifest.

    Raises:
        ValueError: when there is no such checkpoint, or its files are not what was written.
    """
    folder = find_checkpoint(run_dir, checkpoint)
    spec = load_reward_spec(folder)
    params = nnx.state(abstract_reward_model(spec.model))
    require_stored(folder, params)
    with reading(folder, "this checkpoint cannot be trusted"):
        trees = read(folder, {"params": nnx.to_pure_dict(params)})
    require_finite(folder, trees["params"])
    nnx.replace_by_pure_dict(params, trees["params"])
    return Scorer(spec, params, f"{run_dir}@{folder.name}")


def _rounded(count: int) -> int:
    """Round up to a power of two: batches of like lengths share a program."""
    return 1 << (count - 1).bit_length()


@jax.jit(static_argnums=0)
def _score(
    graph: nnx.GraphDef[RewardModel],
    params: Params,
    tokens: Int[Array, "B L"],
    own: Bool[Array, "B L"],
) -> Float[Array, " B"]:
    return nnx.merge(graph, params)(tokens, own)
