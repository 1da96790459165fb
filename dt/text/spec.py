"""What a text model needs besides weights: tokenizer, scores' units, what it learned from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dt.checkpoint.manifest import verify
from dt.config.language_model import LanguageModelConfig
from dt.files import read_json, reading, structured
from dt.spec.serialize import Json, spec_to_json
from dt.text.data.scores import ScoreScale
from dt.text.data.tokenizers import RecordedTokenizer, Tokenizer, tokenizer_from_json

KIND = "text"
FORMAT = 1


@dataclass(frozen=True)
class TextSummary:
    """What was learned from, in numbers."""

    name: str
    sha256: str
    """Of the file; empty for what is made up."""
    num_posts: int
    """Of the generator's part."""
    num_tokens: int
    """Of its texts, their ends among them, prompts not."""
    percentiles: tuple[float, ...]
    """0 to 100 of the transformed scores of all posts."""

    def percentile(self, share: float) -> float:
        """Read a percentile off, from 0 to 100."""
        return float(np.interp(share, np.arange(101), self.percentiles))


@dataclass(frozen=True, eq=False)
class TextSpec:
    """What a checkpoint of a text model holds besides weights."""

    model: LanguageModelConfig
    tokenizer: Tokenizer
    scale: ScoreScale
    dataset: TextSummary
    guidance: float = 1.0
    """By which the run's card is made."""

    def targets(self, count: int) -> Float[np.ndarray, " n"]:
        """Space transformed scores equally from the 5th to the 95th percentile."""
        return np.linspace(self.dataset.percentile(5), self.dataset.percentile(95), count)


@dataclass(frozen=True)
class _Recorded:
    """A text model's spec.json."""

    kind: str
    format: int
    model: LanguageModelConfig
    tokenizer: RecordedTokenizer
    scale: ScoreScale
    dataset: TextSummary
    guidance: float


@spec_to_json.register
def _text_to_json(spec: TextSpec) -> Json:
    return {
        "kind": KIND,
        "format": FORMAT,
        "model": dataclasses.asdict(spec.model),
        "tokenizer": dataclasses.asdict(spec.tokenizer.recorded()),
        "scale": dataclasses.asdict(spec.scale),
        "dataset": dataclasses.asdict(spec.dataset),
        "guidance": spec.guidance,
    }


def load_text_spec(folder: Path) -> TextSpec:
    """Read a checkpoint's spec.json, verified.

    Raises:
        ValueError: where it is not what was written, or is no text model's.
    """
    verify(folder)
    path = folder / "spec.json"
    values = read_json(path)
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise ValueError(f"{path}: is no text model's; evaluate it as a run on episodes")
    if values.get("format") != FORMAT:
        raise ValueError(f"{path}: has format {values.get('format')}; this version reads {FORMAT}")
    with reading(path, "this checkpoint cannot be trusted"):
        recorded = structured(_Recorded, values)
        return TextSpec(
            model=recorded.model,
            tokenizer=tokenizer_from_json(recorded.tokenizer),
            scale=recorded.scale,
            dataset=recorded.dataset,
            guidance=recorded.guidance,
        )
