"""Do Hugging Face's models act here as they do there, and is what cannot be read named?

hf_golden/ holds three of their models and what they answered (tests/make_hf_golden.py).
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gymnasium import spaces
from safetensors.numpy import load_file, save_file
from tiny import make_config, make_dataset

import dt
from dt.acting.policy import ReturnConditionedPolicy
from dt.checkpoint.hugging_face.folder import load_hf, save_hf
from dt.checkpoint.hugging_face.tensors import tensor_paths, to_theirs
from dt.checkpoint.hugging_face.units import ImportedUnits
from dt.config import TrainConfig
from dt.config.presets import with_recipe
from dt.data import Batch, TrainingData
from dt.data.batches.windows import Action, Observation
from dt.model.decision_transformer import DecisionTransformer, abstract_model
from dt.spec.spec import PolicySpec
from dt.training.step import Learner

GOLDEN = Path(__file__).parent / "hf_golden"
OUTPUTS = load_file(GOLDEN / "outputs.safetensors")
LAYERS = [1, 3, pytest.param(6, marks=pytest.mark.thorough)]
STATISTICS: dict[str, Any] = {
    "state_mean": [0.5, -1.0, 2.0],
    "state_std": [2.0, 0.5, 3.0],
    "return_scale": 100.0,
    "context_length": 4,
}


def golden_batch(padded: bool) -> Batch:
    names = [name for name in Batch._fields if name != "prefix"]
    values = {name: jnp.asarray(OUTPUTS[f"{padded}/{name}"]) for name in names}
    rows = values["mask"].shape
    return Batch(
        **{
            **values,
            "observations": Observation(
                values["observations"],
                jnp.zeros((*rows, 0), jnp.int32),
                jnp.zeros((*rows, 0), "u1"),
            ),
            "actions": Action(values["actions"], jnp.zeros((*rows, 0), jnp.int32)),
        }
    )


def predict(policy: ReturnConditionedPolicy, batch: Batch) -> np.ndarray:
    graph, _ = nnx.split(abstract_model(policy.spec))
    return np.asarray(jax.jit(lambda p, b: nnx.merge(graph, p)(b).numbers)(policy.params, batch))


def make_policy(space: spaces.Space | None = None, **model: object) -> ReturnConditionedPolicy:
    """A policy of recipe chen2021 with random weights, all of which matter."""
    dataset = make_dataset([7, 2, 11], space)
    config = with_recipe(make_config(**model), "chen2021")
    spec = PolicySpec.of(TrainingData.of(dataset), config.model, max_episode_steps=40)
    params = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: jnp.asarray(x + 0.3 * rng.normal(size=x.shape).astype(np.float32)), params
    )
    return ReturnConditionedPolicy(params, spec)


def play(policy: ReturnConditionedPolicy, targets: list[float], num_steps: int = 9) -> np.ndarray:
    rng = np.random.default_rng(1)
    policy.reset(targets)
    acted = []
    for _ in range(num_steps):
        acted.append(policy.act(rng.normal(3, 2, (len(targets), 3)).astype(np.float32)))
        policy.observe(rng.uniform(0, 1, len(targets)))
    return np.stack(acted)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN / "1", tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("layers", LAYERS)
def test_predictions_are_theirs(layers: int, padded: bool) -> None:
    """The batch is longer than context_length: attention over all of it, as theirs, not banded."""
    policy = load_hf(GOLDEN / str(layers), STATISTICS)
    batch = golden_batch(padded)
    theirs = OUTPUTS[f"{layers}/{padded}/predictions"]
    ours = predict(policy, batch)
    real = np.asarray(batch.mask)
    assert real.all() != padded and theirs[real].std() > 0.3
    np.testing.assert_allclose(ours[real], theirs[real], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("layers", LAYERS)
def test_an_agent_acts_as_theirs_does(layers: int) -> None:
    """An episode past the window: the last context_length timesteps, computed anew at each step."""
    policy = dt.load_policy(GOLDEN / str(layers), statistics=STATISTICS)
    policy.reset([250.0, 250.0])  # the second row starts the same episode three steps late
    for t in range(len(OUTPUTS["states"]) + 3):
        clocks = np.array([min(t, 8), max(t - 3, 0)])
        if t == 3:
            policy.reset([250.0, 250.0], where=np.array([False, True]))
        acted = policy.act(OUTPUTS["states"][clocks])
        policy.observe(OUTPUTS["rewards"][clocks])
        for row, begin in enumerate((0, 3)):
            if begin <= t < begin + 9:
                theirs = OUTPUTS[f"{layers}/played"][t - begin]
                np.testing.assert_allclose(acted[row], theirs, atol=1e-5)


@pytest.mark.slow
def test_the_loss_and_its_gradient_are_theirs() -> None:
    policy = load_hf(GOLDEN / "3", STATISTICS)
    spec = dataclasses.replace(policy.spec, model=dataclasses.replace(policy.spec.model, dropout=0))
    graph, batch = Learner(spec, with_recipe(TrainConfig(), "chen2021")).graph, golden_batch(True)

    def mean_loss(params: Any) -> jax.Array:
        # Padded on the left, as theirs are; batches of our training are padded on the right.
        losses, _ = nnx.merge(graph, params).losses(batch)
        return jnp.where(batch.mask, losses, 0.0).sum() / batch.mask.sum()

    loss, grads = jax.jit(jax.value_and_grad(mean_loss))(policy.params)
    np.testing.assert_allclose(loss, OUTPUTS["3/loss"], rtol=1e-5)
    theirs = load_file(GOLDEN / "gradients.safetensors")
    paths = tensor_paths(3)
    assert theirs.keys() - paths.keys() == {"encoder.wpe.weight"}
    ours: Any = nnx.to_pure_dict(grads)
    for name, path in paths.items():
        value = ours
        for key in path:
            value = value[key]
        value = to_theirs(name, np.asarray(value), spec.model.num_heads)
        assert np.abs(theirs[name]).max() > 1e-4
        np.testing.assert_allclose(value, theirs[name], atol=1e-4, err_msg=name)
    # Their position vector is the same one for every token: its gradient is the bias's.
    np.testing.assert_allclose(
        theirs["encoder.wpe.weight"][0], theirs["embed_ln.bias"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("space", [None, spaces.Box(-np.inf, np.inf, (2,), np.float32)])
def test_what_is_saved_loads_and_acts_the_same(space: spaces.Space | None, tmp_path: Path) -> None:
    policy = make_policy(space)
    save_hf(policy, tmp_path / "out")
    back = dt.load_policy(tmp_path / "out")
    for name in ("context_length", "width", "num_layers", "num_heads", "dropout"):
        assert getattr(back.spec.model, name) == getattr(policy.spec.model, name)
    for name in ("env_id", "dataset", "return_range", "max_timesteps", "transforms", "reference"):
        assert getattr(back.spec, name) == getattr(policy.spec, name), name
    assert back.spec.action_space == policy.spec.action_space
    first = play(policy, [0.5, 3.0])
    assert np.abs(first[:, 0] - first[:, 1]).max() > 0.05  # the return is heard
    np.testing.assert_allclose(play(back, [0.5, 3.0]), first, rtol=1e-4, atol=1e-4)
    assert json.loads((tmp_path / "out" / "dt.json").read_text())["return_scale"] > 0


def test_statistics_stand_beside_the_model_or_are_given(folder: Path) -> None:
    with pytest.raises(ValueError, match="state_mean, state_std, return_scale not known"):
        dt.load_policy(folder)
    (folder / "dt.json").write_text(json.dumps({**STATISTICS, "env_id": "Some-v0"}))
    policy = dt.load_policy(folder)
    assert policy.spec.env_id == "Some-v0" and policy.spec.model.context_length == 4
    np.testing.assert_array_equal(policy.spec.observation_normalizer.scale, [2.0, 0.5, 3.0])
    narrow = dt.load_policy(folder, statistics={"action_low": [-2.0, 0.0], "action_high": 3.0})
    assert narrow.spec.env_id == "Some-v0"
    ends = Action(np.array([[1.0, -1.0]]), np.zeros((1, 0), np.int32))
    np.testing.assert_array_equal(narrow.spec.codec.decode_action(ends), [[3.0, 0.0]])


@pytest.mark.slow
def test_a_return_range_clips_and_without_one_every_return_is_shown(folder: Path) -> None:
    free = load_hf(folder, STATISTICS)
    bounded = load_hf(folder, {**STATISTICS, "return_range": [0.0, 200.0]})
    for policy, alike in ((free, False), (bounded, True)):
        policy.reset([200.0, 350.0])
        a, b = policy.act(np.zeros((2, 3), np.float32))
        assert np.array_equal(a, b) == alike


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"state_men": 0.0}, "no field 'state_men'; did you mean 'state_mean'"),
        ({"state_mean": [1.0, 2.0]}, r"state_mean has shape \(2,\); give 3 numbers, or one"),
        ({"state_mean": [1.0, float("nan"), 0.0]}, "state_mean is .* it must be finite"),
        ({"state_std": [1.0, 0.0, 1.0]}, "state_std is .* above 0"),
        ({"state_std": "wide"}, "state_std is 'wide'; it must be a number"),
        ({"return_scale": -5.0}, "return_scale is -5.0; it must be finite and above 0"),
        ({"action_low": 1.0}, "action_low is 1.0, action_high is None; .* low below high"),
        ({"context_length": 0}, "model.context_length is 0"),
    ],
)
def test_statistics_that_cannot_be_used_are_named(
    folder: Path, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        dt.load_policy(folder, statistics={**STATISTICS, **fields})
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("activation_function", "gelu_new"),
        ("layer_norm_epsilon", 1e-6),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
        ("n_inner", 8),
        ("model_type", "gpt2"),
    ],
)
def test_an_option_without_a_counterpart_is_refused_by_name(
    folder: Path, option: str, value: Any
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, option: value}))
    with pytest.raises(ValueError, match=f"{option} is {value!r}; only .* is supported"):
        dt.load_policy(folder, statistics=STATISTICS)


def test_defaults_that_config_json_leaves_out_are_theirs(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for name in ("activation_function", "layer_norm_epsilon", "n_inner", "action_tanh", "n_head"):
        del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    policy = load_hf(folder, STATISTICS)
    np.testing.assert_allclose(
        predict(policy, golden_batch(False)), OUTPUTS["1/False/predictions"], atol=1e-5
    )


def test_without_tanh_nothing_bounds_the_actions(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "action_tanh": False}))
    policy = load_hf(folder, STATISTICS)
    ours = predict(policy, golden_batch(False))
    np.testing.assert_allclose(np.tanh(ours), OUTPUTS["1/False/predictions"], atol=1e-5)
    assert np.abs(ours).max() > 1.0
    with pytest.raises(ValueError, match="action_low is -1.0, but .*action_tanh false"):
        load_hf(folder, {**STATISTICS, "action_low": -1.0})


def change(folder: Path, **tensors: np.ndarray | None) -> None:
    path = folder / "model.safetensors"
    kept = {**load_file(path), **tensors}
    save_file({name: value for name, value in kept.items() if value is not None}, path)


def test_a_missing_an_unknown_and_a_misshapen_tensor_are_named(folder: Path) -> None:
    change(folder, **{"encoder.h.0.ln_1.bias": None})
    with pytest.raises(ValueError, match="no tensor encoder.h.0.ln_1.bias"):
        load_hf(folder, STATISTICS)
    change(folder, **{"encoder.h.0.ln_1.bias": np.zeros(8, np.float32)})
    change(folder, **{"encoder.h.1.ln_1.bias": np.zeros(8, np.float32)})
    with pytest.raises(ValueError, match="unknown tensor encoder.h.1.ln_1.bias"):
        load_hf(folder, STATISTICS)
    change(folder, **{"encoder.h.1.ln_1.bias": None, "embed_state.weight": np.zeros((8, 4))})
    with pytest.raises(ValueError, match=r"embed_state.weight has shape \(8, 4\), .* \(8, 3\)"):
        load_hf(folder, STATISTICS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(folder: Path, value: float) -> None:
    kernel = load_file(folder / "model.safetensors")["embed_state.weight"].copy()
    kernel[0, 0] = value
    change(folder, **{"embed_state.weight": kernel})
    with pytest.raises(ValueError, match=r"embed_state\.weight holds NaN or infinity"):
        load_hf(folder, STATISTICS)


def test_tensors_that_no_action_reads_do_not_matter(folder: Path) -> None:
    """Older versions saved causal masks; some leave out heads that nobody trained."""
    before = play(load_hf(folder, STATISTICS), [250.0])
    mask = np.tril(np.ones((1, 1, 4, 4), np.uint8))
    change(
        folder,
        **{
            "encoder.h.0.attn.bias": mask,
            "encoder.h.0.attn.masked_bias": np.array(-1e4, np.float32),
            "predict_state.weight": None,
            "predict_return.bias": None,
            "encoder.wte.weight": None,
        },
    )
    np.testing.assert_array_equal(play(load_hf(folder, STATISTICS), [250.0]), before)


def test_half_precision_is_read(folder: Path) -> None:
    before = play(load_hf(folder, STATISTICS), [250.0])
    tensors = load_file(folder / "model.safetensors")
    change(folder, **{name: value.astype(np.float16) for name, value in tensors.items()})
    np.testing.assert_allclose(play(load_hf(folder, STATISTICS), [250.0]), before, atol=0.02)


def test_a_folder_without_readable_weights_says_so(folder: Path) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:100])
    with pytest.raises(ValueError, match="model.safetensors: does not read"):
        load_hf(folder, STATISTICS)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no such file \(but pytorch_model.bin\)"):
        load_hf(folder, STATISTICS)
    (folder / "config.json").write_text('{"model_type"')
    with pytest.raises(ValueError, match="config.json: is no JSON"):
        dt.load_policy(folder)


def test_one_flipped_bit_of_what_we_wrote_is_found(tmp_path: Path) -> None:
    save_hf(make_policy(), tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-9] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not the file that dt.json was written for"):
        dt.load_policy(tmp_path / "out")


@pytest.mark.slow
def test_what_the_other_model_cannot_express_is_not_written(tmp_path: Path) -> None:
    default = PolicySpec.of(TrainingData.of(make_dataset([9])), make_config().model)
    unknown = nnx.state(abstract_model(default))
    for policy, said in (
        (ReturnConditionedPolicy(unknown, default), "model.recipe is default"),
        (make_policy(layout="observation-action"), "model.layout is observation-action"),
        (make_policy(spaces.Discrete(3)), r"action space Discrete\(3\)"),
    ):
        with pytest.raises(ValueError, match=said):
            save_hf(policy, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="already holds a config.json"):
        save_hf(make_policy(), tmp_path / "run")


def test_a_run_and_a_folder_are_told_apart(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no checkpoints"):
        dt.load_policy(folder, "best", statistics=STATISTICS)
    with pytest.raises(ValueError, match="no null token"):
        dt.load_policy(folder, null=True, statistics=STATISTICS)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"preset": "x"}')
    with pytest.raises(ValueError, match="holds no checkpoint"):
        dt.load_policy(tmp_path / "run")
    with pytest.raises(ValueError, match="is no Hugging Face folder"):
        dt.load_policy(tmp_path / "run", statistics=STATISTICS)


def test_arguments_come_before_the_file_and_its_own_fields_are_listed(folder: Path) -> None:
    (folder / "dt.json").write_text("[1]")
    with pytest.raises(ValueError, match="dt.json: does not read as a JSON object"):
        ImportedUnits.read(folder, STATISTICS)
    (folder / "dt.json").write_text(json.dumps({**STATISTICS, "return_scale": 5.0}))
    assert ImportedUnits.read(folder, {"return_scale": 7.0}).return_scale == 7.0


@pytest.mark.parametrize(
    ("option", "value"),
    [("n_layer", 10**9), ("hidden_size", 10**9), ("state_dim", 10**12), ("max_ep_len", 10**12)],
)
def test_what_config_json_declares_is_held_against_the_tensors(
    folder: Path, option: str, value: int
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, option: value}))
    with pytest.raises(ValueError, match=rf"config\.json: {option} is {value}, but .* holds \d+;"):
        load_hf(folder, STATISTICS)


def test_a_context_that_no_memory_holds_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="a context of 1000000000000 timesteps takes .* GiB"):
        load_hf(folder, {**STATISTICS, "context_length": 10**12})
