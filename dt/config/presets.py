"""Runs that have names: presets, recipes and sizes."""

from __future__ import annotations

import dataclasses

from dt.config import (
    DataConfig,
    EvaluationConfig,
    ModelConfig,
    OptimizerConfig,
    RecipeName,
    SizeName,
    TrainConfig,
)
from dt.config.language_model import LanguageModelConfig
from dt.config.text import GRAMMAR, PostsConfig, TextConfig, TextDataConfig
from dt.words import there_are


def with_recipe(config: TrainConfig, recipe: str) -> TrainConfig:
    """What else a recipe sets of model, data and optimiser; the size and the budget stay.

    Unknown names change nothing.
    """
    name = next((name for name in RECIPES if name == recipe), None)
    if name is None:
        return config
    num_heads, optimizer = RECIPES[name]
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model, recipe=name, num_heads=num_heads, dropout=0.1, return_dropout=0.0
        ),
        data=dataclasses.replace(config.data, windows_per_segment=1),
        optimizer=optimizer,
    )


# Heads and optimiser. chen2021: table 8 of Chen et al. 2021, and the authors' code, which decays
# all parameters; its 10,000 updates of warm-up are a tenth of its 100,000. atari-chen2021: table 7;
# its 10,240 tokens of warm-up are three updates of its batch.
RECIPES: dict[RecipeName, tuple[int, OptimizerConfig]] = {
    "chen2021": (
        1,
        OptimizerConfig(
            learning_rate=1e-4,
            schedule="constant",
            warmup_fraction=0.1,
            weight_decay=1e-4,
            decay="all",
            betas=(0.9, 0.999),
            clip_norm=0.25,
        ),
    ),
    "atari-chen2021": (
        8,
        OptimizerConfig(
            learning_rate=6e-4,
            schedule="cosine",
            warmup_steps=3,
            final_fraction=0.1,
            weight_decay=0.1,
            decay="matrices",
            betas=(0.9, 0.95),
            clip_norm=1.0,
        ),
    ),
}


# Layers, heads and width: Chen et al. 2021's for the gym tasks, and table 3 of Lee et al. 2022.
SIZES: dict[SizeName, tuple[int, int, int]] = {
    "small": (3, 1, 128),
    "base": (6, 12, 768),
    "large": (10, 20, 1280),
}


def with_size(config: TrainConfig, size: str) -> TrainConfig:
    """The same run with a transformer of a named size; unknown names change nothing."""
    name = next((name for name in SIZES if name == size), None)
    if name is None:
        return config
    layers, heads, width = SIZES[name]
    model = dataclasses.replace(
        config.model, size=name, num_layers=layers, num_heads=heads, width=width
    )
    return dataclasses.replace(config, model=model)


DEMO = "cartpole"  # that of no words at all: it makes its own data
OWN_DATA = "default"  # that of data without a preset's name: the data says where it is played

PRESETS: dict[str, TrainConfig] = {
    DEMO: TrainConfig(
        data=DataConfig(source="demo:cartpole"),
        model=ModelConfig(num_layers=2, width=64),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_steps=200),
        evaluation=EvaluationConfig(env="CartPole-v1", max_episode_steps=200, episodes=50),
        num_steps=3000,
        checkpoint_interval=1000,
    ),
    OWN_DATA: TrainConfig(),
    "hopper": TrainConfig(
        data=DataConfig(windows_per_segment=4),
        model=ModelConfig(dropout=0.0),
        optimizer=OptimizerConfig(learning_rate=3e-3, final_fraction=0.0, betas=(0.9, 0.95)),
        evaluation=EvaluationConfig(
            env="Hopper-v4", reference=("D4RL (Fu et al. 2020)", -20.272305, 3234.3)
        ),
    ),
    "halfcheetah": TrainConfig(
        evaluation=EvaluationConfig(
            env="HalfCheetah-v4", reference=("D4RL (Fu et al. 2020)", -280.178953, 12135.0)
        ),
    ),
    "door": TrainConfig(
        evaluation=EvaluationConfig(
            env="gymnasium_robotics:AdroitHandDoor-v1",
            reference=("D4RL (Fu et al. 2020)", -56.512833, 2880.569309),
        ),
    ),
    # Five epochs of 500,000 steps, as the paper has it; of what game, the data says. Micro-batches
    # that a CPU's caches hold (1.3 times the speed); a GPU wants --data.num-micro-batches 1.
    "atari-chen2021": with_recipe(
        TrainConfig(
            data=DataConfig(batch_size=128, num_micro_batches=8),
            model=ModelConfig(context_length=30, num_layers=6, width=128),
            evaluation=EvaluationConfig(episodes=10),
            num_steps=20_000,
        ),
        "atari-chen2021",
    ),
}


TEXT = "text"  # the preset of posts and their votes
REWARD = "text-reward-model"  # of what scores them

TEXT_PRESETS: dict[str, TextConfig] = {
    # Without --data: sentences of a small grammar, whose exact distribution is known.
    TEXT: TextConfig(
        data=TextDataConfig(source=GRAMMAR, batch_size=64),
        text=PostsConfig(tokenizer="words", judge_fraction=0.0, test_fraction=0.05),
        model=LanguageModelConfig(longest=16, width=64, num_layers=2, dropout=0.0),
        optimizer=OptimizerConfig(
            learning_rate=3e-3,
            warmup_steps=100,
            final_fraction=0.0,
            betas=(0.9, 0.98),
            clip_norm=1.0,
        ),
        num_steps=6000,
    ),
    # Pairs are few and long: a small model, and much dropout.
    REWARD: TextConfig(
        data=TextDataConfig(batch_size=32),
        text=PostsConfig(tokenizer="words", vocabulary=4096, judge_fraction=0.0, test_fraction=0.2),
        model=LanguageModelConfig(longest=128, width=64, num_layers=1, dropout=0.3),
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            warmup_steps=50,
            final_fraction=0.05,
            weight_decay=0.1,
            clip_norm=1.0,
        ),
        num_steps=600,
    ),
}
# The same preset where --data names posts.
POSTS = TextConfig(
    model=LanguageModelConfig(longest=64, width=128, num_layers=4, dropout=0.2),
    optimizer=OptimizerConfig(
        learning_rate=2e-3,
        warmup_steps=100,
        final_fraction=0.05,
        weight_decay=0.1,
        betas=(0.9, 0.98),
        clip_norm=1.0,
    ),
    num_steps=2000,
)


def text_preset(name: str, source: str, pretrained: bool = False) -> TextConfig:
    """Look up a preset of runs on text, as it is for these posts.

    Args:
        source: as `data.source`; empty: the preset's own.
        pretrained: whether the weights of another model are begun with, which want smaller steps
            and whose own words are kept.
    """
    own = POSTS if name == TEXT and source not in ("", GRAMMAR) else TEXT_PRESETS[name]
    if not pretrained:
        return own
    return dataclasses.replace(
        own,
        text=dataclasses.replace(own.text, tokenizer="bpe"),
        model=dataclasses.replace(own.model, dropout=0.0),
        optimizer=dataclasses.replace(own.optimizer, learning_rate=2e-4),
    )


def preset_named(name: str) -> TrainConfig:
    """Look up a preset.

    Raises:
        ValueError: for a name that there is not, with the nearest that is.
    """
    if name not in PRESETS:
        if name in TEXT_PRESETS:
            raise ValueError(f"preset {name} is of text, and only `train` takes it")
        known = [*PRESETS, *TEXT_PRESETS]
        raise ValueError(f"unknown preset {name!r:.60}; {there_are(name, known)}")
    return PRESETS[name]


def preset_for(source: str) -> str:
    """Name the preset of data where none is asked for: the one that brings them, or OWN_DATA.

    Args:
        source: as `data.source`; empty: no data are named.
    """
    if not source:
        return DEMO
    return next((name for name, own in PRESETS.items() if own.data.source == source), OWN_DATA)
