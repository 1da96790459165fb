"""Does transformers' own DecisionTransformerModel agree? Needs the extra `interop`."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from tiny import make_dataset

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of other libraries' importing
    transformers = pytest.importorskip("transformers")

from make_hf_golden import gradients, make_batch, make_model  # noqa: E402
from make_hf_golden import predict as their_prediction  # noqa: E402

from dt.acting.policy import ReturnConditionedPolicy  # noqa: E402
from dt.checkpoint.hugging_face.folder import load_hf, save_hf  # noqa: E402
from dt.checkpoint.hugging_face.tensors import tensor_paths, to_theirs  # noqa: E402
from dt.config import TrainConfig  # noqa: E402
from dt.config.presets import with_recipe  # noqa: E402
from dt.data import Batch, TrainingData  # noqa: E402
from dt.data.batches.windows import Action, Observation  # noqa: E402
from dt.model.decision_transformer import DecisionTransformer, abstract_model  # noqa: E402
from dt.spec.spec import PolicySpec  # noqa: E402
from dt.training.step import Learner  # noqa: E402

STATISTICS: dict[str, Any] = {"state_mean": 0.0, "state_std": 1.0, "return_scale": 1.0}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def load(model: Any, folder: Path, **statistics: Any) -> ReturnConditionedPolicy:
    model.save_pretrained(folder)
    return load_hf(folder, {**STATISTICS, **statistics})


def predict(policy: ReturnConditionedPolicy, batch: dict[str, np.ndarray]) -> np.ndarray:
    graph, _ = nnx.split(abstract_model(policy.spec))
    predicted = jax.jit(lambda p, b: nnx.merge(graph, p)(b).numbers)(policy.params, as_batch(batch))
    return np.asarray(predicted)


def as_batch(arrays: dict[str, np.ndarray]) -> Batch:
    rows = arrays["mask"].shape
    seen = Observation(
        arrays["observations"], np.zeros((*rows, 0), "i4"), np.zeros((*rows, 0), "u1")
    )
    done = Action(arrays["actions"], np.zeros((*rows, 0), "i4"))
    return jax.tree.map(jnp.asarray, Batch(**{**arrays, "observations": seen, "actions": done}))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (3, 1), (3, 4), (6, 1)])
def test_random_weights_predict_the_same(
    layers: int, heads: int, padded: bool, tmp_path: Path
) -> None:
    model = make_model(layers, heads, width=64, seed=layers)
    policy = load(model, tmp_path / "model")
    batch = make_batch(5, 12, padded, seed=layers)
    theirs = their_prediction(model, batch).detach().numpy()[batch["mask"]]
    ours = predict(policy, batch)[batch["mask"]]
    assert theirs.std() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 3, 6])
def test_the_gradient_of_the_action_loss_is_the_same(layers: int, tmp_path: Path) -> None:
    model = make_model(layers, 1, width=64, seed=layers)
    spec = load(model, tmp_path / "model").spec
    spec = dataclasses.replace(spec, model=dataclasses.replace(spec.model, dropout=0.0))
    batch = make_batch(5, 12, True, seed=layers)
    their_loss, theirs = gradients(model, batch)
    graph, given = Learner(spec, with_recipe(TrainConfig(), "chen2021")).graph, as_batch(batch)

    def mean_loss(params: Any) -> jax.Array:
        # Padded on the left, as theirs are; batches of our training are padded on the right.
        losses, _ = nnx.merge(graph, params).losses(given)
        return jnp.where(given.mask, losses, 0.0).sum() / given.mask.sum()

    params = load_hf(tmp_path / "model", STATISTICS).params
    loss, grads = jax.jit(jax.value_and_grad(mean_loss))(params)
    assert float(loss) == pytest.approx(their_loss, rel=1e-5)
    tree: Any = nnx.to_pure_dict(grads)
    for name, path in tensor_paths(layers).items():
        value = tree
        for key in path:
            value = value[key]
        value = to_theirs(name, np.asarray(value), model.config.n_head)
        np.testing.assert_allclose(value, theirs[name], atol=1e-4, err_msg=name)


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("layers", [1, 3, 6])
def test_what_we_write_loads_there_and_agrees(layers: int, bounded: bool, tmp_path: Path) -> None:
    space = spaces.Box(-2.0, 2.0, (2,), np.float32)
    if not bounded:
        space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    config = with_recipe(TrainConfig(), "chen2021").model
    config = dataclasses.replace(config, num_layers=layers, width=32, context_length=5)
    spec = PolicySpec.of(TrainingData.of(make_dataset([7, 12], space)), config, 40)
    params = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(layers)))
    save_hf(ReturnConditionedPolicy(params, spec), tmp_path / "out")
    model, loading = transformers.DecisionTransformerModel.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(loading.values()), loading  # nothing missing, unexpected or mismatched
    batch = make_batch(5, 5, True, seed=layers)
    ours = predict(ReturnConditionedPolicy(params, spec), batch)[batch["mask"]]
    # Theirs takes R / scale where ours takes (R - mean) / scale, and raw actions if unbounded.
    returns = spec.return_normalizer
    batch["returns_to_go"] = (returns.invert(batch["returns_to_go"]) / returns.scale).astype("f4")
    if not bounded:
        batch["actions"] = spec.action_normalizer.invert(batch["actions"]).astype("f4")
        ours = spec.action_normalizer.invert(ours)
    theirs = their_prediction(model.eval(), batch).detach().numpy()[batch["mask"]]
    assert theirs.std() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
