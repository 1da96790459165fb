"""Are rows laid out as they should be, prompts not learned, and losses in parts the same?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dt.config.language_model import LanguageModelConfig
from dt.config.text import TextConfig, TextDataConfig
from dt.parallel.mesh import make_mesh
from dt.text import learner as learner_module
from dt.text.data.scores import ScoreScale
from dt.text.data.tokenizers import Bytes
from dt.text.learner import TextLearner
from dt.text.rows import TextFeed, TextRows, batch_of, tokenised
from dt.text.spec import TextSpec, TextSummary

END = Bytes.end
MODEL = LanguageModelConfig(vocabulary=257, longest=12, width=8, num_layers=1, num_heads=1)
TEXTS = ["abc", "defgh", "i"]


def spec_of(model: LanguageModelConfig = MODEL) -> TextSpec:
    summary = TextSummary("here", "", 3, 12, tuple(map(float, range(101))))
    return TextSpec(model, Bytes(), ScoreScale("raw", 0.0, 1.0), summary)


def some_rows(prompts: tuple[str, ...] = ()) -> TextRows:
    return tokenised(TEXTS, prompts, np.array([1.0, 2.0, 3.0]), Bytes(), MODEL.longest)[0]


def test_a_text_stands_between_start_and_end_behind_its_prompt() -> None:
    rows = some_rows(("", "yz", "x" * 50))
    assert rows.tokens[0].tolist()[:5] == [END, *b"abc", END]
    assert rows.tokens[1].tolist()[:9] == [END, *b"yz", *b"defgh", END]
    assert rows.tokens[2].tolist()[:9] == [END, *b"x" * 6, ord("i"), END]  # the prompt's last half
    batch = batch_of(rows, np.array([1]))
    assert batch.mask[0].tolist() == [False] * 2 + [True] * 6  # what comes next is of the text


def test_what_is_too_long_is_cut_with_its_end() -> None:
    rows, cut = tokenised(["a" * 20, "b"], (), np.zeros(2), Bytes(), 12)
    assert cut == 1 and rows.tokens.shape == (2, 13) and END not in rows.tokens[0, 1:]


def test_every_row_comes_once_an_epoch_and_a_batch_is_a_function_of_the_step() -> None:
    rows = tokenised([f"t{n}" for n in range(12)], (), np.zeros(12), Bytes(), 12)[0]
    config = TextConfig(data=TextDataConfig(batch_size=4), num_steps=100, log_interval=6)
    mesh = make_mesh(jax.devices()[:1])
    feed = TextFeed(rows, None, config, mesh)
    drawn = np.asarray(feed.round(0, 6))
    assert sorted(drawn[:3].ravel()) == sorted(drawn[3:].ravel()) == list(range(12))
    assert (drawn[:3] != drawn[3:]).any()
    np.testing.assert_array_equal(np.asarray(feed.round(2, 8))[:4], drawn[2:])
    assert feed.holdout_draw() is None
    assert "step 2, posts" in feed.describe(2)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(learner_module, "CHUNK", 3 * 2 * 257)
    yield


def test_the_loss_in_parts_equals_that_of_all_logits_in_value_and_gradient(
    small_chunks: None,
) -> None:
    model = LanguageModelConfig(**{**dataclasses.asdict(MODEL), "dropout": 0.0})
    learner = TextLearner(spec_of(model), TextConfig(model=model))
    params = learner.fresh()
    batch = jax.tree.map(jnp.asarray, batch_of(some_rows(("", "yz", "")), np.arange(3)))
    null = jnp.array([False, True, False])
    count = batch.mask.sum()

    def in_parts(params):  # type: ignore[no-untyped-def]
        return learner.loss(params, batch, null, jax.random.key(0), count)[0]

    def whole(params):  # type: ignore[no-untyped-def]
        model = nnx.merge(learner.graph, params)
        hidden = model(batch.tokens[:, :-1], None, batch.returns, null)
        log_probs = jax.nn.log_softmax(model.logits(hidden))
        wanted = jnp.take_along_axis(log_probs, batch.tokens[:, 1:, None], axis=-1)[..., 0]
        return -(wanted * batch.mask).sum() / count

    found, expected = (jax.jit(jax.value_and_grad(f))(params) for f in (in_parts, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)


def test_no_array_of_training_holds_all_logits(small_chunks: None) -> None:
    learner = TextLearner(spec_of(), TextConfig(model=MODEL))
    batch = jax.tree.map(jnp.asarray, batch_of(some_rows(), np.arange(3)))
    null, key = jnp.zeros(3, bool), jax.random.key(0)

    def loss(params):  # type: ignore[no-untyped-def]
        return learner.loss(params, batch, null, key, batch.mask.sum())[0]

    program = str(jax.make_jaxpr(jax.grad(loss))(learner.fresh()))
    assert "[3,2,257]" in program and "[3,6,257]" not in program
