"""Do named points read what the model computes, and edit it where they are told, not elsewhere?"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import make_config, make_dataset

from dt.config import ModelConfig
from dt.data import Batch, TrainingData, Windows, gather
from dt.model.decision_transformer import DecisionTransformer, names_of_points
from dt.model.edits import Edit
from dt.model.points import Points, Where, as_tree, check_names
from dt.model.recomputed_window import Moment
from dt.spec.spec import PolicySpec

T, CONTEXT = 6, 3
PAPER = ModelConfig(
    recipe="chen2021", context_length=T, num_layers=1, num_heads=2, width=8, return_dropout=0.0
)
MODELS = {
    "looped": make_config(num_layers=3, scan_layers=True, remat=True).model,
    "added": make_config(layout="fused", conditioning="adaln", num_layers=1).model,
    "paper": PAPER,
}


def build(name: str) -> tuple[DecisionTransformer, Batch, PolicySpec]:
    data = TrainingData.of(make_dataset([5, 12]))
    spec = PolicySpec.of(data, MODELS[name], max_episode_steps=40)
    model = DecisionTransformer(spec, rngs=nnx.Rngs(0))
    for block in model.transformer.blocks:  # zero at first: no condition would matter
        if block.adaptive:
            kernel = block.modulation.kernel
            kernel[...] = jax.random.normal(jax.random.key(0), kernel.shape)
    windows = Windows(*(np.array(value) for value in ([6, 8], [T, T], [1, 3])))
    batch = jax.tree.map(jnp.asarray, gather(spec.codec.encode(data.rows), windows, T))
    return model, batch, spec


@partial(nnx.jit, static_argnums=(2,))
def run(
    model: DecisionTransformer, batch: Batch, read: tuple[str, ...], do: dict[str, Edit]
) -> tuple[jax.Array, dict[str, jax.Array]]:
    points = Points(read, do)
    prediction = model.predictions(batch, points=points)[0].numbers
    assert prediction is not None
    return prediction, points.seen


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("looped", "blocks.1.mlp.out"),
        pytest.param("added", "residual.0", marks=pytest.mark.slow),
        pytest.param("paper", "tokens.observation", marks=pytest.mark.slow),
    ],
)
def test_an_edit_holds_from_its_timestep_on_and_before_it_no_bit_changes(
    name: str, point: str
) -> None:
    model, batch, spec = build(name)
    names, n = names_of_points(spec), spec.layout.tokens_per_step
    plain = nnx.jit(lambda model, batch: model(batch).numbers)(model, batch)
    # The same program for both: an edit's numbers and timesteps are what it is given.
    edit = Edit("add", np.ones(8, np.float32), first=1000)
    predicted, seen = run(model, batch, names, {point: edit})
    np.testing.assert_allclose(predicted, plain, rtol=1e-5, atol=1e-6)
    assert set(seen) == set(names)
    if "blocks.0.attention.weights" in seen:
        np.testing.assert_allclose(seen["blocks.0.attention.weights"].sum(-1), 1.0, rtol=1e-5)
    # Both rows are edited at timestep 4: place 3 of the one that begins at 1, 1 of the other.
    at_4 = {point: dataclasses.replace(edit, first=4, last=4)}
    edited, seen_edited = run(model, batch, names, at_4)
    last = f"residual.{spec.model.num_layers}"
    for row, place in ((0, 3), (1, 1)):
        np.testing.assert_array_equal(edited[row, :place], predicted[row, :place])
        before, after = np.asarray(seen[last][row]), np.asarray(seen_edited[last][row])
        np.testing.assert_array_equal(after[: place * n], before[: place * n])
        assert (after[place * n : (place + 1) * n] != before[place * n : (place + 1) * n]).any()
    assert (edited[0, 3:] != predicted[0, 3:]).any()
    if name == "looped":  # of the blocks in the loop the one that is named
        changed = [bool((seen[r] != seen_edited[r]).any()) for r in names if r.startswith("res")]
        assert changed == [False, False, True, True]


def test_the_ring_cache_and_a_recomputed_window_take_the_edits_of_a_whole_segment() -> None:
    """Acted step by step, edits give what they give on the segment: a head, a token, an input."""
    model, batch, _ = build("looped")
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(5, 3)).astype(np.float32)
    do = {
        "inputs.observation": Edit("shuffle", pool, first=3),
        "tokens.action": Edit("set", np.ones(8, np.float32), first=2, last=4),
        "blocks.1.attention.heads": Edit("set", np.zeros(4, np.float32), heads=(1,)),
        "blocks.0.attention.weights": Edit("set", np.zeros(1), first=4, places=(1,), heads=(0,)),
        "residual.2": Edit("donor", rng.normal(size=(2, 8)).astype(np.float32), first=2),
    }
    batch = batch._replace(timesteps=jnp.arange(T)[None] + jnp.zeros((2, 1), jnp.int32))
    whole, _ = run(model, batch, (), do)

    @nnx.jit
    def step(model: DecisionTransformer, moment: Moment, cache: object) -> tuple:
        no = jnp.zeros(2, bool)
        prediction, cache, _ = model.step(moment, no, cache, points=Points(do=do))  # type: ignore[arg-type]
        return prediction.numbers, cache

    # The weights of a segment stand in another order than the ring's: all of them get the same.
    for recompute in (False, True):
        cache = model.init_cache(2, recompute)
        for t in range(T if not recompute else CONTEXT):
            at = partial(jax.tree.map, lambda x, t=t: x[:, t])
            before = jax.tree.map(lambda x, t=t: x[:, max(t - 1, 0)], batch.actions)
            moment = Moment(
                before,
                at(batch.observations),
                batch.returns_to_go[:, t],
                jnp.full(2, t),
                batch.returns_to_go[:, max(t - 1, 0)],
            )
            acted, cache = step(model, moment, cache)
            np.testing.assert_allclose(acted, whole[:, t], atol=2e-5, err_msg=f"{recompute} {t}")


def test_an_edit_freezes_and_picks_features_and_places() -> None:
    value = jnp.arange(24.0).reshape(1, 6, 4)
    where = Where(jnp.array([[3, 3, 4, 4, 5, 5]]), np.array([0, 1] * 3), jnp.array([7]))
    frozen = Edit("freeze", first=3, places=(1,))(value, where)[0, :, 0]
    np.testing.assert_array_equal(frozen, [0, 4, 8, 4, 16, 4])
    chosen = Edit("set", np.float32(-1), first=4, last=4, features=(1, 3))(value, where)[0]
    np.testing.assert_array_equal(chosen[2], [8, -1, 10, -1])
    np.testing.assert_array_equal(chosen[4], value[0, 4])
    pool = np.arange(100.0, dtype=np.float32)[:, None]
    drawn = Edit("shuffle", pool)(value, where)
    again = Edit("shuffle", pool)(
        value[:, ::-1], where._replace(timesteps=where.timesteps[:, ::-1])
    )
    np.testing.assert_array_equal(drawn, again[:, ::-1])  # by row and timestep alone


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Edit("set", np.zeros(1), first=3, last=2), "first is 3 and last 2"),
        (lambda: Edit("set"), "needs values"),
        (lambda: Edit("freeze", np.zeros(1)), "takes no values"),
        (lambda: Edit("donor", np.float32(1)), "one number"),
        (
            lambda: check_names(["blocks.0.mpl.out"], ["blocks.0.mlp.out"]),
            "mean 'blocks.0.mlp.out'",
        ),
    ],
)
def test_what_cannot_be_is_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_names_are_listed_as_a_tree() -> None:
    tree = as_tree(names_of_points(build("looped")[2])).splitlines()
    assert tree[:4] == ["inputs", "  return", "  observation", "  action"]
    assert "    attention" in tree and "      weights" in tree and tree[-1] == "final"
