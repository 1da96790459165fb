"""Do all ways to attend compute one function, and may one choose among them freely?"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import batch_of, make_config, make_dataset

from dt.cli.train import parse_train_args
from dt.config import TrainConfig
from dt.config.presets import SIZES, with_size
from dt.data import TrainingData
from dt.model import attention
from dt.model.attention import attend
from dt.model.attention.blocks import blocks
from dt.model.attention.cudnn import CUDNN
from dt.model.attention.mask import Reach
from dt.model.attention.splash import runs_on, splash
from dt.model.attention.way import Inputs, Way
from dt.model.attention.whole import whole
from dt.model.decision_transformer import DecisionTransformer, abstract_model
from dt.model.dropout import dropout
from dt.model.layers import LayerNorm, Linear
from dt.model.recomputed_window import Moment
from dt.spec.spec import PolicySpec
from dt.training.loss import loss_and_gradient as of_batch
from dt.training.step import Learner

B, T, n, H, d = 2, 12, 3, 2, 4
ALL = np.arange(T * n)
ONE_A_STEP = np.arange(1, T * n, n)
REAL = {
    "no padding": np.ones((B, T), bool),
    "right": np.arange(T) < [[12], [5]],
    "left": np.arange(T) >= [[0], [7]],
}


def inputs(num_steps: int = T, head_dim: int = d) -> tuple[jax.Array, jax.Array, jax.Array]:
    shape = (3, B, num_steps * n, H, head_dim)
    q, k, v = jax.random.normal(jax.random.key(0), shape)
    return q, k, v


def value_and_gradients(
    way: Callable[..., jax.Array], queries: np.ndarray, *args: Any, **kwargs: Any
) -> list[jax.Array]:
    """What comes out, and how a sum of it with random weights depends on what goes in."""
    q, k, v = inputs()
    out, backward = jax.vjp(lambda q, k, v: way(q, k, v, *args, queries, **kwargs), q, k, v)
    return [out, *backward(jax.random.normal(jax.random.key(1), out.shape))]


def by_hand(reach: Reach, real: np.ndarray | None, queries: np.ndarray) -> np.ndarray:
    """Softmax over a Python loop of who may be seen."""
    q, k, v = (np.asarray(x, np.float64) for x in inputs())
    out = np.zeros((B, len(queries), H, d))
    for b, i, h in np.ndindex(B, len(queries), H):
        at = queries[i]
        seen = [
            j
            for j in range(at + 1)
            if j // n > at // n - reach.window and (real is None or real[b, j // n] or j == at)
        ]
        scores = k[b, seen, h] @ q[b, at, h] / np.sqrt(d)
        weights = np.exp(scores - scores.max())
        out[b, i, h] = weights @ v[b, seen, h] / weights.sum()
    return out


@pytest.mark.slow
@pytest.mark.parametrize("window", [3, 5, 12])  # blocks, no multiple, one window
@pytest.mark.parametrize("side", [None, *REAL])
def test_attention_is_softmax_over_what_is_seen(window: int, side: str | None) -> None:
    q, k, v = inputs()
    real = None if side is None else REAL[side]
    mask = None if real is None else jnp.asarray(real)
    for queries in (ALL, ONE_A_STEP, ALL[-2:]):
        out = attend(q[:, queries], k, v, mask, Reach(window, n), queries)
        np.testing.assert_allclose(out, by_hand(Reach(window, n), real, queries), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("window", [2, 3, pytest.param(6, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("side", [None, *REAL])
def test_blocks_equal_the_whole_in_value_and_gradient(window: int, side: str | None) -> None:
    real, reach = None if side is None else jnp.asarray(REAL[side]), Reach(window, n)
    for queries in (ALL, ONE_A_STEP):

        def of(way: Callable[..., jax.Array], queries: np.ndarray = queries) -> list[jax.Array]:
            return value_and_gradients(
                lambda q, k, v, queries: way(Inputs(q[:, queries], k, v, real, reach, queries)),
                queries,
            )

        for a, b in zip(of(blocks), of(whole), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.slow
def test_memory_grows_with_the_segment_s_length_and_not_its_square() -> None:
    def largest(num_steps: int) -> int:
        q, k, v = inputs(num_steps)
        queries = np.arange(num_steps * n)
        program = jax.make_jaxpr(lambda: attend(q, k, v, None, Reach(4, n), queries))()
        return max(_sizes(program.jaxpr))

    assert largest(256) < 5 * largest(64)


def _sizes(jaxpr: Any) -> list[int]:
    """Sizes of all arrays in a program and in the programs that it calls."""
    sizes = [1]
    for equation in jaxpr.eqns:
        sizes += [int(np.prod(getattr(v.aval, "shape", ()))) for v in equation.outvars]
        for value in equation.params.values():
            value = getattr(value, "jaxpr", value)
            sizes += _sizes(value) if hasattr(value, "eqns") else []
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("side", [None, "left"])
def test_splash_equals_the_whole_in_value_and_gradient(side: str | None) -> None:
    real = None if side is None else jnp.asarray(REAL[side])
    for queries in (ALL, ONE_A_STEP):

        def of(way: Callable[..., jax.Array], queries: np.ndarray = queries) -> list[jax.Array]:
            def of_the_real(q: Any, k: Any, v: Any, queries: np.ndarray) -> jax.Array:
                out = way(Inputs(q[:, queries], k, v, real, Reach(3, n), queries))
                return out * (1 if real is None else real[:, queries // n, None, None])

            return value_and_gradients(of_the_real, queries)

        interpreted = of(lambda inputs: splash(inputs, interpret=True))
        for a, b in zip(interpreted, of(whole), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_fused_kernels_are_for_their_own_devices() -> None:
    q, k, v = inputs()
    narrow = Inputs(q.astype(jnp.bfloat16), k, v, None, Reach(T, n), ALL)
    assert not CUDNN.takes(narrow)  # a CPU
    assert runs_on("tpu", 1, 128)
    assert not runs_on("tpu", 4, 128)
    assert not runs_on("tpu", 1, 64)
    assert not runs_on("cpu", 1, 128)


def test_a_way_of_another_package_is_asked_in_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = inputs()
    zero = Way("zero", lambda inputs: inputs.real is None, lambda inputs: 0 * inputs.q)
    ours = attend(q, k, v, None, Reach(T, n), ALL)
    padded = attend(q, k, v, jnp.asarray(REAL["right"]), Reach(T, n), ALL)
    monkeypatch.setattr(attention, "WAYS", (zero, *attention.WAYS))
    assert ours.any() and not attend(q, k, v, None, Reach(T, n), ALL).any()
    again = attend(q, k, v, jnp.asarray(REAL["right"]), Reach(T, n), ALL)
    np.testing.assert_array_equal(again, padded)


@functools.cache  # a compilation of seconds, and some tests compare with the same
def loss_and_gradient(**model: object) -> tuple[Any, Any]:
    dataset = make_dataset([7, 2, 11])
    config = make_config(num_layers=2, **model)
    learner = Learner(PolicySpec.of(TrainingData.of(dataset), config.model), config)
    batch = batch_of(learner, dataset)
    args = (learner.init().params, batch, jnp.zeros(4, bool), jax.random.key(0))
    loss, grads = jax.jit(functools.partial(of_batch, learner.loss))(*args)
    return loss.total, grads


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        {"remat": True, "scan_layers": True},
        pytest.param({"remat": True}, marks=pytest.mark.thorough),
        pytest.param({"scan_layers": True}, marks=pytest.mark.thorough),
    ],
)
def test_remat_and_scanned_layers_are_the_same_function(how: dict[str, bool]) -> None:
    """With dropout: the same weights are left out, in the same layers."""
    expected, found = (loss_and_gradient(dropout=0.3, **kind) for kind in ({}, how))
    for a, b in zip(*map(jax.tree.leaves, (expected, found)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_in_16_bits_the_loss_is_near_and_gradients_have_32() -> None:
    (wide, wide_grads), (narrow, grads) = (
        loss_and_gradient(dropout=0.0, dtype=dtype) for dtype in ("float32", "bfloat16")
    )
    assert narrow.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype("float32")}
    assert 0 < abs(float(wide - narrow)) < 0.02 * float(wide)
    a, b = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(g)]) for g in (wide_grads, grads))
    assert float(jnp.vdot(a, b) / jnp.linalg.norm(a) / jnp.linalg.norm(b)) > 0.999


def test_layers_compute_in_the_type_that_comes_in() -> None:
    x = jax.random.normal(jax.random.key(0), (2, 5, 8))
    for layer in (Linear(8, 8, rngs=nnx.Rngs(0)), LayerNorm(8, rngs=nnx.Rngs(0))):
        narrow = layer(x.astype(jnp.bfloat16))
        assert narrow.dtype == jnp.bfloat16
        np.testing.assert_allclose(narrow.astype(jnp.float32), layer(x), atol=0.05)


@pytest.mark.slow
def test_a_ring_in_16_bits_acts_as_the_whole_segment_does() -> None:
    dataset = make_dataset([7])
    config = make_config(dtype="bfloat16")
    spec = PolicySpec.of(TrainingData.of(dataset), config.model)
    model = DecisionTransformer(spec, rngs=nnx.Rngs(0))
    learner = Learner(spec, config)
    batch = jax.tree.map(lambda x: x[:1], batch_of(learner, dataset))
    batch = batch._replace(timesteps=batch.timesteps - batch.timesteps[:, :1])
    full, cache = nnx.jit(DecisionTransformer.__call__)(model, batch), model.init_cache(1)
    step = nnx.jit(DecisionTransformer.step)
    for t in range(batch.timesteps.shape[1]):
        now = jax.tree.map(lambda x, t=t: x[:, t], batch)
        before = jax.tree.map(lambda x, t=t: x[:, max(t - 1, 0)], batch)
        moment = Moment(before.actions, now.observations, now.returns_to_go, now.timesteps)
        prediction, cache, _ = step(model, moment, jnp.zeros(1, bool), cache)
        expected = jax.tree.map(lambda x, t=t: x[:, t], full)
        for a, b in zip(*map(jax.tree.leaves, (prediction, expected)), strict=True):
            np.testing.assert_allclose(a, b, atol=0.03)


@pytest.mark.parametrize(("size", "millions"), [("small", 0.7), ("base", 40), ("large", 200)])
def test_a_size_has_the_parameters_it_says(size: str, millions: float) -> None:
    config = with_size(TrainConfig(), size)
    spec = PolicySpec.of(TrainingData.of(make_dataset([4])), config.model, max_episode_steps=1000)
    leaves = jax.tree.leaves(nnx.state(abstract_model(spec)))
    assert sum(leaf.size for leaf in leaves) / 1e6 == pytest.approx(millions, rel=0.13)


def test_a_size_on_the_command_line_leaves_room_for_a_width() -> None:
    _, config = parse_train_args(["hopper", "--model.size", "base", "--model.width", "384"])
    assert (config.model.num_layers, config.model.num_heads, config.model.width) == (6, 12, 384)
    assert config.model.dropout == 0.0  # the preset's
    _, plain = parse_train_args(["hopper"])
    _, small = parse_train_args(["hopper", "--model.size=small"])
    assert dataclasses.replace(small.model, size="") == plain.model
    assert set(SIZES) == {"small", "base", "large"}


def test_dropout_leaves_out_its_share_and_the_same_on_the_way_back() -> None:
    x = jnp.ones((300, 400))
    kept = [np.asarray(dropout(x, 0.3, jax.random.key(seed))) > 0 for seed in range(4)]
    for mask in kept:
        assert mask.mean() == pytest.approx(0.7, abs=0.005)  # 4 standard errors
        for axis in (0, 1):  # no row and no column is favoured
            share, n = mask.mean(axis=axis), mask.shape[axis]
            assert share.std() == pytest.approx(np.sqrt(0.21 / n), rel=0.15)
        for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):  # nor by its neighbour
            assert np.corrcoef(a.ravel(), b.ravel())[0, 1] == pytest.approx(0.0, abs=0.012)
    for i, j in itertools.combinations(range(4), 2):
        correlation = np.corrcoef(kept[i].ravel(), kept[j].ravel())[0, 1]
        assert correlation == pytest.approx(0.0, abs=0.012)
    key = jax.random.key(1)
    value, gradient = jax.value_and_grad(lambda x: dropout(x, 0.3, key).sum())(x)
    np.testing.assert_array_equal(gradient > 0, kept[1])
    np.testing.assert_allclose(gradient[kept[1]], 1 / 0.7, rtol=1e-6)
    assert float(value) == pytest.approx(x.size, rel=0.01)
    assert dropout(x.astype(jnp.bfloat16), 0.3, key).dtype == jnp.bfloat16
