"""Is the language model causal, the same with and without a cache, and plain without a return?"""

from __future__ import annotations

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from dt.config.language_model import LanguageModelConfig
from dt.text.model.cache import TextCache, advance
from dt.text.model.language_model import LanguageModel
from dt.text.model.sample import SampleOptions, _pick, _sample, cut_off, sample
from dt.text.model.trained import hold, names_of, trained_mask

LLAMA = LanguageModelConfig(
    vocabulary=13, longest=9, width=16, num_layers=2, num_heads=4, num_key_heads=2, mlp_width=24
)
GPT2 = LanguageModelConfig(
    vocabulary=13,
    longest=9,
    width=16,
    num_layers=2,
    num_heads=2,
    norm="layer",
    positions="learned",
    activation="gelu",
    biases=True,
    tied_head=False,
)
BOTH = pytest.mark.parametrize("config", [LLAMA, GPT2], ids=["llama", "gpt2"])
RETURNS = jnp.array([-1.0, 2.0])


@cache
def made(config: LanguageModelConfig) -> LanguageModel:
    """A model whose return's maps have learned something."""
    model = LanguageModel(config, rngs=nnx.Rngs(0))
    for i, block in enumerate(model.blocks):
        kernel = block.returns.kernel
        kernel[...] = jax.random.normal(jax.random.key(i), kernel.shape)
    return model


def tokens_of(length: int = 9, rows: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 13, (rows, length))


@nnx.jit
def hidden_of(model, tokens, mask=None, returns=None, null=None):  # type: ignore[no-untyped-def]
    return model(tokens, mask, returns, null)


@nnx.jit
def advanced(model, cache, tokens, real=None, returns=None, null=None):  # type: ignore[no-untyped-def]
    return advance(model, cache, tokens, real, returns, null)


@BOTH
@pytest.mark.slow
def test_a_token_sees_nothing_behind_it(config: LanguageModelConfig) -> None:
    tokens = tokens_of()
    other = tokens.copy()
    other[:, 5:] = (other[:, 5:] + 1) % 13
    before, after = (hidden_of(made(config), t, returns=RETURNS) for t in (tokens, other))
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert not np.allclose(before[:, 5], after[:, 5])


@BOTH
@pytest.mark.slow
def test_padding_on_the_left_changes_nothing(config: LanguageModelConfig) -> None:
    tokens = tokens_of(9)
    real = np.arange(9) >= np.array([[4], [0]])
    padded = hidden_of(made(config), tokens, real, RETURNS)
    alone = hidden_of(made(config), tokens[:, 4:], returns=RETURNS)
    np.testing.assert_allclose(padded[0, 4:], alone[0], atol=1e-5)
    whole = hidden_of(made(config), tokens, returns=RETURNS)
    np.testing.assert_allclose(padded[1], whole[1], atol=1e-5)


@BOTH
@pytest.mark.slow
def test_before_training_and_for_the_null_token_it_is_the_plain_model(
    config: LanguageModelConfig,
) -> None:
    """To the last bit."""
    tokens, learned = tokens_of(), made(config)
    fresh = LanguageModel(config, rngs=nnx.Rngs(0))
    plain = hidden_of(learned, tokens)
    np.testing.assert_array_equal(hidden_of(fresh, tokens, returns=RETURNS), plain)
    null = jnp.array([True, False])
    told = hidden_of(learned, tokens, returns=RETURNS, null=null)
    np.testing.assert_array_equal(told[0], plain[0])
    assert not np.allclose(told[1], plain[1])


@BOTH
@pytest.mark.slow
def test_a_cache_gives_what_the_whole_text_gives(config: LanguageModelConfig) -> None:
    tokens, model = tokens_of(), made(config)
    whole = hidden_of(model, tokens, returns=RETURNS)
    hidden, cache = advanced(model, TextCache.empty(model, 2), tokens[:, :4], returns=RETURNS)
    parts = [hidden]
    for i in range(4, 9):
        hidden, cache = advanced(model, cache, tokens[:, i : i + 1], returns=RETURNS)
        parts.append(hidden)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-5)


@BOTH
@pytest.mark.slow
def test_a_text_that_begins_later_has_a_clock_of_its_own(config: LanguageModelConfig) -> None:
    """Slots wrap around, and what a text before left in them is not seen."""
    tokens, model = tokens_of(), made(config)
    cache, last = TextCache.empty(model, 2), []
    for i in range(14):
        if i == 5:
            cache = cache.emptied(jnp.array([True, False]))
        if i == 9:
            cache = cache.emptied(jnp.array([False, True]))
        at = i - 5 if i >= 5 else i, i - 9 if i >= 9 else i
        new = tokens[[0, 1], at][:, None]
        hidden, cache = advanced(model, cache, new, returns=RETURNS)
        last.append(hidden[:, 0])
    whole = hidden_of(model, tokens, returns=RETURNS)
    np.testing.assert_allclose(np.stack([h[0] for h in last[5:]]), whole[0], atol=1e-5)
    np.testing.assert_allclose(np.stack([h[1] for h in last[:9]]), whole[1], atol=1e-5)
    np.testing.assert_allclose(np.stack([h[1] for h in last[9:]]), whole[1, :5], atol=1e-5)


@pytest.mark.slow
def test_a_ring_of_the_window_continues_a_long_text() -> None:
    config = dataclasses.replace(LLAMA, window=3, longest=20)
    tokens, model = tokens_of(15), made(config)
    cache = TextCache.empty(model, 2)
    assert cache.positions.shape == (2, 3)
    parts = []
    for i in range(15):
        hidden, cache = advanced(model, cache, tokens[:, i : i + 1], returns=RETURNS)
        parts.append(hidden[:, 0])
    whole = hidden_of(model, tokens, returns=RETURNS)
    np.testing.assert_allclose(np.stack(parts, axis=1), whole, atol=1e-5)


@pytest.mark.slow
def test_remat_and_the_loop_over_blocks_change_no_gradient() -> None:
    tokens, config = tokens_of(), LLAMA

    @nnx.jit
    def gradient(model: LanguageModel) -> nnx.State:
        def loss(model: LanguageModel) -> jax.Array:
            return jnp.square(model.logits(model(tokens, returns=RETURNS))).sum()

        return nnx.grad(loss)(model)

    plain = gradient(made(config))
    config = dataclasses.replace(config, remat=True, scan_layers=True)
    other = LanguageModel(config, rngs=nnx.Rngs(0))
    nnx.update(other, nnx.state(made(dataclasses.replace(config, remat=False, scan_layers=False))))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-3), plain, gradient(other)
    )


@pytest.mark.slow
def test_samples_are_what_the_model_says() -> None:
    """Greedy tokens and their probabilities are those of the whole text."""
    model, prompts = made(LLAMA), tokens_of(3)
    options = SampleOptions(length=6, temperature=0.0)
    drawn = sample(model, options, jax.random.key(0), prompts, returns=RETURNS)
    whole = np.concatenate([prompts, drawn.tokens], axis=1)
    logits = model.logits(hidden_of(model, whole, returns=RETURNS)[:, 2:-1])
    np.testing.assert_array_equal(drawn.tokens, logits.argmax(-1))
    log_probs = np.take_along_axis(
        np.asarray(jax.nn.log_softmax(logits)), drawn.tokens[..., None], -1
    )
    np.testing.assert_allclose(drawn.log_probs, log_probs[..., 0], atol=1e-4)
    np.testing.assert_array_equal(drawn.lengths, 6)


@pytest.mark.slow
def test_other_numbers_compile_nothing_and_stop_tokens_end_a_text() -> None:
    model, prompts = made(LLAMA), tokens_of(3)
    options = SampleOptions(length=6, stop=(1, 3, 5, 7))
    sample(model, options, jax.random.key(0), prompts, returns=RETURNS)
    compiled = _sample._cache_size()
    ended = False
    for seed, change in enumerate(
        ({"top_k": 3}, {"top_p": 0.5}, {"temperature": 2.0}, {"temperature": 9.0})
    ):
        given = dataclasses.replace(options, **change)  # type: ignore[arg-type]
        drawn = sample(model, given, jax.random.key(seed), prompts, returns=RETURNS)
        for row, length in zip(np.asarray(drawn.tokens), drawn.lengths, strict=True):
            ends = np.isin(row[:length], options.stop)
            assert not ends[:-1].any() and not row[length:].any()
            assert length == 6 or ends[-1]
            ended |= bool(length < 6)
    assert ended and _sample._cache_size() == compiled


@pytest.mark.slow
def test_guidance_is_two_passes_of_one_batch() -> None:
    model, prompts = made(LLAMA), tokens_of(3)
    options = SampleOptions(length=1, temperature=0.0, guidance=3.0)
    drawn = sample(model, options, jax.random.key(0), prompts, returns=RETURNS)
    told = model.logits(hidden_of(model, prompts, returns=RETURNS)[:, -1])
    plain = model.logits(hidden_of(model, prompts)[:, -1])
    guided = jax.nn.log_softmax(plain + 3.0 * (told - plain))
    np.testing.assert_array_equal(drawn.tokens[:, 0], guided.argmax(-1))
    np.testing.assert_allclose(drawn.log_probs[:, 0], guided.max(-1), atol=1e-4)


@pytest.mark.slow
def test_what_is_cut_off() -> None:
    weights = jnp.array([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]])

    def kept(top_k: int, top_p: float) -> list[list[int]]:
        cut = np.asarray(jax.jit(cut_off)(weights, jnp.int32(top_k), jnp.float32(top_p))) > 0
        return [np.flatnonzero(row).tolist() for row in cut]

    assert kept(0, 1.0) == [[0, 1, 2, 3]] * 2
    assert kept(2, 1.0) == [[1, 3], [0, 1, 2, 3]]  # as likely as the last one
    assert kept(0, 0.5) == [[1, 3], [0, 1, 2, 3]]
    assert kept(0, 0.4) == [[1], [0, 1, 2, 3]]
    assert kept(2, 0.1) == [[1], [0, 1, 2, 3]]


@pytest.mark.slow
def test_tokens_are_drawn_in_proportion_to_their_weights() -> None:
    """Those of weight zero never, wherever they stand."""
    weights = np.array([0.0, 3.0, 0.0, 0.5, 0.0, 0.0, 1.5, 0.0, 5.0, 0.0, 0.0], np.float32)
    keys = jax.random.split(jax.random.key(0), 50)
    rows = jnp.tile(weights, (200, 1))
    drawn = np.concatenate(jax.jit(jax.vmap(_pick, (None, 0)))(rows, keys))
    shares = np.bincount(drawn, minlength=11) / len(drawn)
    assert not shares[weights == 0].any()
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.02)


def test_a_text_longer_than_the_model_s_is_refused() -> None:
    with pytest.raises(ValueError, match="sampling.length is 8; .* must be at most 7"):
        sample(made(LLAMA), SampleOptions(length=8), jax.random.key(0), tokens_of(3))
    with pytest.raises(ValueError, match="the model's longest is 9"):
        made(LLAMA)(tokens_of(10))
    with pytest.raises(ValueError, match="guidance is 2.0; it must be 1 without returns"):
        sample(made(LLAMA), SampleOptions(length=2, guidance=2.0), jax.random.key(0), tokens_of(3))


@pytest.mark.parametrize(
    ("trained", "names"),
    [
        ("return", {"returns", "return_hidden"}),
        ("adapters", {"returns", "return_hidden", "adapter_in", "adapter_out"}),
        ("blocks", {"1", "norm", "return_hidden"}),
        ("all", {"embed", "blocks", "norm", "return_hidden"}),
    ],
)
def test_only_what_is_trained_has_a_gradient(trained: str, names: set[str]) -> None:
    config = dataclasses.replace(LLAMA, adapter_rank=2)
    params = nnx.state(LanguageModel(config, rngs=nnx.Rngs(0)))
    mask = trained_mask(params, trained, 1)  # type: ignore[arg-type]
    found = {names_of(path): on for path, on in jax.tree_util.tree_flatten_with_path(mask)[0]}
    assert found == {path: bool(names & set(path)) for path in found}
    graph = nnx.graphdef(LanguageModel(config, rngs=nnx.Rngs(0)))

    def loss(params: nnx.State) -> jax.Array:
        model = nnx.merge(graph, hold(params, mask))
        return jnp.square(model.logits(model(tokens_of(), returns=RETURNS))).sum()

    grads = jax.jit(jax.grad(loss))(params)
    for path, grad in jax.tree_util.tree_flatten_with_path(grads)[0]:
        assert found[names_of(path)] or not np.any(grad)


def test_nothing_that_is_missing_can_be_trained() -> None:
    params = nnx.state(made(LLAMA))
    with pytest.raises(ValueError, match="model.adapter_rank is 0"):
        trained_mask(params, "adapters")
    with pytest.raises(ValueError, match="the last 3 blocks are trained, but the model has 2"):
        trained_mask(params, "blocks", 3)
