"""Does the command line say what it means, and is a value out of range refused by its name?"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dt.cli.train import parse_train_args
from dt.config import (
    DataConfig,
    DistributedConfig,
    EvaluationConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    from_json,
    to_json,
)
from dt.config.presets import PRESETS


@pytest.mark.parametrize(
    ("make", "values", "field"),
    [
        (ModelConfig, {"context_length": 0}, "model.context_length"),
        (ModelConfig, {"num_layers": 0}, "model.num_layers"),
        (ModelConfig, {"num_heads": 0}, "model.num_heads"),
        (ModelConfig, {"width": -8}, "model.width"),
        (ModelConfig, {"width": 10, "num_heads": 4}, "model.width"),
        (ModelConfig, {"dropout": 1.0}, "model.dropout"),
        (ModelConfig, {"max_timesteps": -1}, "model.max_timesteps"),
        (ModelConfig, {"num_bins": 1}, "model.num_bins"),
        (
            ModelConfig,
            {"recipe": "chen2021", "return_dropout": 0.0, "head": "gaussian"},
            "model.head",
        ),
        (ModelConfig, {"return_dropout": -0.1}, "model.return_dropout"),
        (DataConfig, {"batch_size": 0}, "data.batch_size"),
        (DataConfig, {"batch_size": 7, "windows_per_segment": 2}, "data.batch_size"),
        (DataConfig, {"windows_per_segment": 0}, "data.windows_per_segment"),
        (DataConfig, {"batch_size": 8, "num_micro_batches": 3}, "data.num_micro_batches"),
        (OptimizerConfig, {"learning_rate": 0.0}, "optimizer.learning_rate"),
        (OptimizerConfig, {"learning_rate": float("nan")}, "optimizer.learning_rate"),
        (OptimizerConfig, {"clip_norm": -1.0}, "optimizer.clip_norm"),
        (OptimizerConfig, {"warmup_steps": -1}, "optimizer.warmup_steps"),
        (EvaluationConfig, {"num_targets": 0}, "evaluation.num_targets"),
        (EvaluationConfig, {"num_targets": 1, "interval": 9}, "evaluation.num_targets"),
        (EvaluationConfig, {"episodes": 0}, "evaluation.episodes"),
        (EvaluationConfig, {"interval": -1}, "evaluation.interval"),
        (EvaluationConfig, {"max_episode_steps": -1}, "evaluation.max_episode_steps"),
        (TrainConfig, {"num_steps": 0}, "num_steps"),
        (TrainConfig, {"log_interval": 0}, "log_interval"),
        (TrainConfig, {"checkpoint_interval": 0}, "checkpoint_interval"),
        (TrainConfig, {"keep_checkpoints": 0}, "keep_checkpoints"),
        (TrainConfig, {"seed": -1}, "seed"),
        (TrainConfig, {"seed": 2**32}, "seed"),
    ],
)
def test_a_value_out_of_range_names_its_field_and_itself(
    make: Callable[..., Any], values: dict[str, Any], field: str
) -> None:
    value = values[field.rpartition(".")[2]]
    with pytest.raises(ValueError, match=f"^{field} is {value}; it must be"):
        make(**values)


@pytest.mark.parametrize(
    ("part", "field"),
    [("data", "reward_shift"), ("optimizer", "weight_decay"), ("model", "return_weight")],
)
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_are_finite(part: str, field: str, value: float) -> None:
    config = TrainConfig()
    with pytest.raises(ValueError, match=rf"{part}\.{field} is {value}; it must be"):
        changed = dataclasses.replace(getattr(config, part), **{field: value})
        dataclasses.replace(config, **{part: changed})


def test_a_segment_is_several_windows_of_one_batch() -> None:
    assert DataConfig(batch_size=12, windows_per_segment=3).num_segments == 4


def test_a_time_limit_of_0_leaves_the_environment_s_own() -> None:
    assert EvaluationConfig().env_kwargs == {}
    assert EvaluationConfig(max_episode_steps=9).env_kwargs == {"max_episode_steps": 9}


def test_a_reference_of_the_configuration_normalises() -> None:
    reference = EvaluationConfig(reference=("by hand", 10.0, 20.0)).known_reference
    assert reference is not None and reference.normalize(15.0) == 50.0
    assert EvaluationConfig().known_reference is None


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name: str) -> None:
    assert from_json(json.loads(json.dumps(to_json(PRESETS[name])))) == PRESETS[name]


def test_a_configuration_changed_everywhere_survives_json() -> None:
    config = TrainConfig(
        data=DataConfig(source="somewhere", batch_size=6, windows_per_segment=3),
        model=ModelConfig(layout="observation-action", width=12, num_heads=3, dropout=0.0),
        optimizer=OptimizerConfig(schedule="constant", betas=(0.5, 0.75)),
        evaluation=EvaluationConfig(env="Pendulum-v1", reference=("by hand", 0.0, 1.0)),
        seed=7,
        resume=True,
    )
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": {"width": "128"}}, "model.width: '128' is no int"),
        ({"model": {"width": True}}, "model.width: True is no int"),
        ({"model": {"widht": 1}}, "model: extra fields found (widht)"),
        ({"model": {"dtype": "float64"}}, "model.dtype: float64 not in literal"),
        ({"model": {"head": ""}}, "model.head is ''; it must be the name of a head"),
        ({"model": {"width": 0}}, "model.width is 0; it must be at least 1"),
        ({"optimizer": {"betas": [0.9]}}, "optimizer.betas: "),
        ({"seed": None, "num_steps": 1.5}, "num_steps: 1.5 is no int; seed: None is no int"),
    ],
)
def test_values_that_are_no_configuration_are_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as error:
        from_json(change)
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "values", "needed"),
    [
        (ModelConfig, {"context_length": 0}, "at least 1"),
        (ModelConfig, {"num_bins": 1}, "at least 2"),
        (ModelConfig, {"learned_prefix": -1}, "0 or more"),
        (ModelConfig, {"return_weight": 0.0}, "above 0"),
        (ModelConfig, {"return_expectile": 1.0}, "between 0 and 1"),
        (ModelConfig, {"dropout": 1.0}, "in [0, 1)"),
        (DataConfig, {"top_fraction": 1.5}, "above 0 and at most 1"),
        (OptimizerConfig, {"betas": (0.9, 1.0)}, "each in [0, 1)"),
        (OptimizerConfig, {"warmup_fraction": 2.0}, "from 0 to 1"),
        (TrainConfig, {"seed": -1}, "from 0 to 2^32 - 1"),
        (DistributedConfig, {"num_processes": 2, "process_id": 2}, "from -1 to 1"),
    ],
)
def test_bounds_are_told_in_words(
    make: Callable[..., Any], values: dict[str, Any], needed: str
) -> None:
    with pytest.raises(ValueError) as error:
        make(**values)
    assert str(error.value).endswith(f"; it must be {needed}")


@pytest.mark.parametrize("name", PRESETS)
def test_the_first_word_chooses_the_preset(name: str) -> None:
    assert parse_train_args([name]) == (name, PRESETS[name])


def test_no_word_at_all_is_the_preset_that_needs_no_data() -> None:
    name, config = parse_train_args([])
    assert (name, config) == ("cartpole", PRESETS["cartpole"])
    assert config.data.source.startswith("demo:")


def test_flags_override_the_preset_and_leave_the_rest() -> None:
    args = "hopper --data log.npz --model.layout observation-action --num-steps 5 --seed 3"
    name, config = parse_train_args(args.split())
    assert name == "hopper"
    assert config.data.source == "log.npz"
    assert config.model.layout == "observation-action"
    assert (config.num_steps, config.seed) == (5, 3)
    assert config.evaluation == PRESETS["hopper"].evaluation
    assert config.optimizer == PRESETS["hopper"].optimizer


@pytest.mark.parametrize("flag", ["--data", "--data.source"])
def test_own_data_without_a_preset_are_played_where_they_say(flag: str) -> None:
    name, config = parse_train_args([flag, "X", "--resume"])
    assert (name, config.data.source, config.resume) == ("default", "X", True)
    assert config.model == TrainConfig().model and config.evaluation.env == ""
    assert parse_train_args(["hopper", flag, "X"])[0] == "hopper"
    assert parse_train_args([flag, "demo:cartpole"]) == ("cartpole", PRESETS["cartpole"])


def test_flags_without_a_preset_change_the_demo() -> None:
    name, config = parse_train_args(["--num-steps", "5"])
    assert (name, config) == ("cartpole", dataclasses.replace(PRESETS["cartpole"], num_steps=5))


def test_a_resumed_run_is_by_default_as_long_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (Path("runs/hopper"), Path("mine")):
        folder.mkdir(parents=True)
    (Path("runs/hopper/config.json")).write_text('{"num_steps": 77}')
    (Path("mine/config.json")).write_text('{"num_steps": 78}')
    for words, num_steps in (
        ("hopper --resume", 77),
        ("hopper --resume --run-dir mine", 78),
        ("hopper --resume --run-dir=mine --num-steps 79", 79),
        ("hopper --run-dir mine", 10_000),
        ("door --resume", 10_000),
    ):
        assert parse_train_args(words.split())[1].num_steps == num_steps, words


def test_a_file_s_options_stand_in_place_of_the_preset_s(tmp_path: Path) -> None:
    """All but where that run was written, and whether it went on; flags come last."""
    words = (
        "hopper --data log.npz --seed 3 --model.width 32 --run-dir old --optimizer.clip-norm inf"
    )
    preset, config = parse_train_args(words.split())
    file = tmp_path / "config.json"
    file.write_text(
        json.dumps({"preset": preset, **to_json(dataclasses.replace(config, resume=True))})
    )
    again = dataclasses.replace(config, run_dir="")
    assert parse_train_args(["--config", str(file)]) == ("hopper", again)
    assert parse_train_args([f"--config={file}", "--run-dir", "new", "--seed", "4"]) == (
        "hopper",
        dataclasses.replace(config, run_dir="new", seed=4),
    )
    assert parse_train_args(["door", "--config", str(file)]) == ("door", again)

    file.write_text('{"model": {"width": 32}, "data": {"source": "mine.npz"}}')
    preset, config = parse_train_args(["--num-steps", "5", "--config", str(file)])
    assert (preset, config.model.width, config.num_steps) == ("default", 32, 5)
    own = PRESETS["hopper"]
    assert parse_train_args(["hopper", "--config", str(file)])[1] == dataclasses.replace(
        own,
        model=dataclasses.replace(own.model, width=32),
        data=dataclasses.replace(own.data, source="mine.npz"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file or directory); name a run's config.json"),
        ("{", "is no JSON (Expecting property name"),
        ("[]", "holds no options by name"),
        ('{"model": {"widht": 1}}', "model: extra fields found (widht)"),
        ('{"seed": "x"}', "seed: 'x' is no int"),
        ('{"preset": "hoper"}', "unknown preset 'hoper'; did you mean 'hopper'?"),
    ],
)
def test_a_file_without_options_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "config.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError) as error:
        parse_train_args(["--config", str(file)])
    assert said in str(error.value) and "\n" not in str(error.value)
    if "preset" not in said:
        assert str(error.value).startswith(f"--config {file}: ")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("hoper", "hopper"), ("cart-pole", "cartpole"), ("halfchetah", "halfcheetah")],
)
def test_an_unknown_preset_suggests_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"unknown preset '{typed}'; did you mean '{meant}'?"):
        parse_train_args([typed])


def test_a_preset_like_no_other_lists_them_all() -> None:
    with pytest.raises(ValueError) as refused:
        parse_train_args(["zzz"])
    assert "did you mean" not in str(refused.value)
    assert all(name in str(refused.value) for name in PRESETS)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--model.width", "0"], "model.width is 0"),
        (["--num-steps", "0"], "num_steps is 0"),
        (["--optimizer.schedule", "linear"], "linear"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_a_flag_that_cannot_be_used_is_named_in_one_line(args: list[str], said: str) -> None:
    with pytest.raises(ValueError, match="see train.py --help") as error:
        parse_train_args(args)
    assert said in str(error.value)
    assert "\n" not in str(error.value) and "│" not in str(error.value)


def test_help_names_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_train_args(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in PRESETS)
