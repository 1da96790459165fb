"""What a reward model needs besides weights: tokenizer, scores' units, what it learned from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dt.checkpoint.manifest import verify
from dt.config.language_model import LanguageModelConfig
from dt.files import read_json, reading, structured
from dt.spec.serialize import Json, spec_to_json
from dt.text.data.scores import ScoreScale
from dt.text.data.tokenizers import RecordedTokenizer, Tokenizer, tokenizer_from_json
from dt.text.spec import TextSummary

KIND = "text-reward"
FORMAT = 1
LearnsFrom = Literal["pairs", "scores"]


@dataclass(frozen=True, eq=False)
class RewardSpec:
    """What a checkpoint of a reward model holds besides weights."""

    model: LanguageModelConfig
    tokenizer: Tokenizer
    scale: ScoreScale
    """Of scores; of pairs, whose scores have no unit, it changes nothing."""
    dataset: TextSummary
    learns_from: LearnsFrom


@dataclass(frozen=True)
class _Recorded:
    """A reward model's spec.json."""

    kind: str
    format: int
    model: LanguageModelConfig
    tokenizer: RecordedTokenizer
    scale: ScoreScale
    dataset: TextSummary
    learns_from: LearnsFrom


@spec_to_json.register
def _reward_to_json(spec: RewardSpec) -> Json:
    return {
        "kind": KIND,
        "format": FORMAT,
        "model": dataclasses.asdict(spec.model),
        "tokenizer": dataclasses.asdict(spec.tokenizer.recorded()),
        "scale": dataclasses.asdict(spec.scale),
        "dataset": dataclasses.asdict(spec.dataset),
        "learns_from": spec.learns_from,
    }


def load_reward_spec(folder: Path) -> RewardSpec:
    """Read a checkpoint's spec.json, verified.

    Raises:
        ValueError: where it is not what was written, or is no reward model's.
    """
    verify(folder)
    path = folder / "spec.json"
    values = read_json(path)
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise ValueError(f"{path}: is no reward model's; train one with train.py text-reward-model")
    if values.get("format") != FORMAT:
        raise ValueError(f"{path}: has format {values.get('format')}; this version reads {FORMAT}")
    with reading(path, "this checkpoint cannot be trusted"):
        recorded = structured(_Recorded, values)
        return RewardSpec(
            model=recorded.model,
            tokenizer=tokenizer_from_json(recorded.tokenizer),
            scale=recorded.scale,
            dataset=recorded.dataset,
            learns_from=recorded.learns_from,
        )
