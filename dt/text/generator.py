"""A trained text model at work: it writes texts at the scores that are asked for, and reads them.

Axes: B texts of a batch, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from dt.checkpoint.arrays import read
from dt.checkpoint.load import find_checkpoint, require_finite, require_stored
from dt.config.text import TextEvaluationConfig
from dt.files import reading
from dt.model.params import Params
from dt.text.learner import log_likelihoods
from dt.text.model.language_model import LanguageModel, abstract_model
from dt.text.model.sample import SampleOptions, sample
from dt.text.rows import TextRows, batch_of, prompt_tokens
from dt.text.spec import TextSpec, load_text_spec

ROWS = 64  # texts at a time; the last batch is filled up, so that one program serves all


@dataclass(frozen=True, eq=False)
class Generator:
    """The weights of a checkpoint, and what goes with them."""

    spec: TextSpec
    params: Params
    name: str = ""
    """Of the checkpoint, for cards."""

    @cached_property
    def model(self) -> LanguageModel:
        """The model itself."""
        model = abstract_model(self.spec.model)
        nnx.update(model, self.params)
        return model

    def write(
        self,
        scores: Float[np.ndarray, " n"],
        prompts: Sequence[str] = (),
        *,
        how: TextEvaluationConfig | None = None,
        seed: int = 0,
        null: bool = False,
    ) -> list[str]:
        """Write a text at each of these scores.

        Args:
            scores: asked for, transformed (`dt.text.data.scores.ScoreScale`).
            prompts: one for each text, or none.
            how: temperature, cuts and guidance; None: as the model has it.
            seed: of the random numbers; the same one writes the same texts.
            null: ask for nothing.
        """
        how = how or TextEvaluationConfig(guidance=self.spec.guidance)
        longest, tokenizer = self.spec.model.longest, self.spec.tokenizer
        heads = [
            prompt_tokens(prompts[i] if prompts else "", tokenizer, longest)
            for i in range(len(scores))
        ]
        width = _rounded(max(map(len, heads)))
        options = SampleOptions(
            length=longest - width + 1,
            temperature=how.temperature,
            top_k=how.top_k,
            top_p=how.top_p,
            guidance=1.0 if null else how.guidance,
            stop=(tokenizer.end,),
        )
        told = self.spec.scale.to_model(scores)
        texts: list[str] = []
        for number, begin in enumerate(range(0, len(scores), ROWS)):
            own = heads[begin : begin + ROWS]
            tokens = np.full((ROWS, width), tokenizer.start, np.int32)
            real = np.zeros((ROWS, width), bool)
            real[:, -1] = True
            for row, head in enumerate(own):
                tokens[row, width - len(head) :], real[row, width - len(head) :] = head, True
            asked = np.zeros(ROWS, np.float32)
            asked[: len(own)] = told[begin : begin + ROWS]
            key = jax.random.fold_in(jax.random.key(seed), number)
            nobody = jnp.ones(ROWS, bool) if null else None
            drawn = sample(
                self.model,
                options,
                key,
                jnp.asarray(tokens),
                jnp.asarray(real),
                jnp.asarray(asked),
                nobody,
            )
            new, lengths = np.asarray(drawn.tokens), np.asarray(drawn.lengths)
            texts += [
                tokenizer.decode(new[row, : lengths[row]].tolist()) for row in range(len(own))
            ]
        return texts

    def log_likelihood(
        self, rows: TextRows, *, null: bool = False
    ) -> tuple[Float[np.ndarray, "N L"], Bool[np.ndarray, "N L"]]:
        """Read texts: log-probabilities of their tokens, and which of these are the text's own.

        Args:
            null: without the score.
        """
        found, masks = [], []
        for begin in range(0, len(rows.tokens), ROWS):
            numbers = np.arange(begin, begin + ROWS) % len(rows.tokens)
            batch = batch_of(rows, numbers)
            is_null = jnp.full(ROWS, null)
            scored = _read(self._graph, self.params, batch.tokens, batch.returns, is_null)
            count = min(ROWS, len(rows.tokens) - begin)
            found.append(np.asarray(scored)[:count])
            masks.append(np.asarray(batch.mask)[:count])
        return np.concatenate(found), np.concatenate(masks)

    def log_probs(
        self, tokens: Int[np.ndarray, "B L"], scores: Float[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B L V"]:
        """Compute the log-probabilities of all next tokens; of few and short texts.

        Args:
            scores: transformed.
        """
        told = jnp.asarray(self.spec.scale.to_model(scores), jnp.float32)
        return np.asarray(_distribution(self._graph, self.params, jnp.asarray(tokens), told))

    @cached_property
    def _graph(self) -> nnx.GraphDef[LanguageModel]:
        return nnx.split(abstract_model(self.spec.model))[0]


def load_generator(run_dir: Path, checkpoint: str | int = "last") -> Generator:
    """Load a text model from a run directory, verified against its manifest.

    Raises:
        ValueError: when there is no such checkpoint, or its files are not what was written.
    """
    folder = find_checkpoint(run_dir, checkpoint)
    spec = load_text_spec(folder)
    params = nnx.state(abstract_model(spec.model))
    require_stored(folder, params)
    with reading(folder, "this checkpoint cannot be trusted"):
        trees = read(folder, {"params": nnx.to_pure_dict(params)})
    require_finite(folder, trees["params"])
    nnx.replace_by_pure_dict(params, trees["params"])
    return Generator(spec, params, f"{run_dir}@{folder.name}")


def _rounded(count: int) -> int:
    """Round up to a power of two: prompts of like lengths share a program."""
    return 1 << (count - 1).bit_length()


@jax.jit(static_argnums=0)
def _read(
    graph: nnx.GraphDef[LanguageModel],
    params: Params,
    tokens: Int[Array, "B L1"],
    returns: Float[Array, " B"],
    null: Bool[Array, " B"],
) -> Float[Array, "B L"]:
    model = nnx.merge(graph, params)
    return log_likelihoods(model, model(tokens[:, :-1], None, returns, null), tokens[:, 1:])


@jax.jit(static_argnums=0)
def _distribution(
    graph: nnx.GraphDef[LanguageModel],
    params: Params,
    tokens: Int[Array, "B L"],
    returns: Float[Array, " B"],
) -> Float[Array, "B L V"]:
    model = nnx.merge(graph, params)
    return jax.nn.log_softmax(model.logits(model(tokens, None, returns)))
