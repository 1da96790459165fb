"""Options of a run on text: which posts, how they become tokens and returns, and its score card."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Interval

from dt.config.checks import (
    BelowOne,
    Count,
    CountOrNone,
    NotNegative,
    Positive,
    Share,
    check_bounds,
    require,
)
from dt.config.language_model import LanguageModelConfig, StartConfig
from dt.config.run import RunConfig

Transform = Literal["raw", "log1p", "quantile", "adjusted"]
GRAMMAR = "grammar"  # what `data.source` says for sentences that are made up


@dataclass(frozen=True)
class TextDataConfig:
    """Where the posts are, and how many of them one update sees."""

    source: Annotated[str, tyro.conf.arg(aliases=["--data"])] = ""
    """A .csv, .jsonl, .json or .parquet file of posts, .gz too; 'grammar': sentences made up here,
    whose vote is a known function of their words."""
    batch_size: Count = 32
    """Posts an update."""
    num_micro_batches: Count = 1
    """Parts whose gradients are summed one after the other; small parts take less memory."""

    def __post_init__(self) -> None:
        check_bounds(self, "data.")
        whole = self.batch_size % self.num_micro_batches == 0
        needed = f"a divisor of batch_size={self.batch_size}"
        require(whole, "data.num_micro_batches", self.num_micro_batches, needed)


@dataclass(frozen=True)
class PostsConfig:
    """Which columns are what, and how texts become tokens and scores returns."""

    column: str = "text"
    """Column of the texts that are learned."""
    score: str = "score"
    """Column of the scores: votes, ratings, points."""
    prompt: str = ""
    """Column of what a text answers; it is shown, and not learned. Empty: none."""
    group: str = ""
    """Column of what belongs together, such as an author or a thread, and never into two parts."""
    time: str = ""
    """Column of when a text was posted, as a number."""
    only: str = ""
    """COLUMN=VALUE: of the rows those that have this."""
    transform: Transform = "raw"
    """What the model is told of a score. log1p: its logarithm. quantile: the share of posts below
    it. adjusted: its rank within the group, less the rank expected by the time of posting."""
    tokenizer: str = "bpe"
    """bytes; words: the commonest of the data; bpe: byte pairs learned from the data; or a
    tokenizer.json, or a folder with one, or with vocab.json and merges.txt."""
    vocabulary: Annotated[int, Ge(2)] = 2048
    """Most tokens that words or bpe have."""
    end_token: str = ""
    """Which token of a tokenizer.json ends a text; empty: the one of usual name."""
    judge_fraction: Annotated[float, Interval(ge=0, lt=1)] = 0.3
    """Share of the posts that the judge learns from, and the generator never sees."""
    test_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.1
    """Share of the posts that neither learns from."""
    near: Share = 0.7
    """Share of their words' pairs that two texts have in common to count as copies, of which two
    parts never hold one each."""
    return_dropout: BelowOne = 0.15
    """Share of the posts in training whose score is the null token, which guidance needs."""
    shuffle_scores: bool = False
    """Train with the scores dealt out anew at random: a control, whose card should show nothing."""

    def __post_init__(self) -> None:
        check_bounds(self, "text.")
        both = self.judge_fraction + self.test_fraction
        needed = f"below 1 together with test_fraction={self.test_fraction}"
        require(both < 1, "text.judge_fraction", self.judge_fraction, needed)
        holds = not self.only or (self.only.find("=") > 0)
        require(holds, "text.only", repr(self.only), "COLUMN=VALUE")
        for name in ("column", "score", "tokenizer"):
            require(bool(getattr(self, name)), f"text.{name}", "empty", "a name")


@dataclass(frozen=True)
class TextEvaluationConfig:
    """The score card: what is asked for, how it is sampled, and who judges it."""

    num_targets: Annotated[int, Ge(2)] = 7
    """Scores asked for, equally spaced from the 5th to the 95th percentile of the data's."""
    samples: Annotated[int, Ge(2)] = 60
    """Texts for each of them, and at most 5 times as many at held-out texts' own scores."""
    judge: str = "tfidf"
    """Who scores what was written: tfidf (a ridge on words, fitted on posts of its own),
    MODULE:FUNCTION (texts to scores), the directory of a reward model's run, or none."""
    guidance: NotNegative = 1.0
    """Weight of what the score changes: 0 leaves it out, above 1 it counts for more."""
    temperature: Positive = 1.0
    """Below 1 nearer to the likeliest text."""
    top_k: CountOrNone = 0
    """Sample among the likeliest so many tokens; 0: all."""
    top_p: Share = 1.0
    """Sample among the likeliest tokens that have this probability together."""

    def __post_init__(self) -> None:
        check_bounds(self, "evaluation.")


@dataclass(frozen=True)
class TextConfig(RunConfig):
    """Everything that decides a run on text."""

    data: TextDataConfig = field(default_factory=TextDataConfig)
    text: PostsConfig = field(default_factory=PostsConfig)
    model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    start: StartConfig = field(default_factory=StartConfig)
    evaluation: TextEvaluationConfig = field(default_factory=TextEvaluationConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        adapts = self.start.trained == "adapters"
        needed = f"{'above 0' if adapts else '0'} with start.trained {self.start.trained}"
        rank = self.model.adapter_rank
        require((rank > 0) == adapts, "model.adapter_rank", rank, needed)

    @property
    def num_rows(self) -> int:
        return self.data.batch_size

    @property
    def num_micro_batches(self) -> int:
        return self.data.num_micro_batches

    @property
    def return_dropout(self) -> float:
        return self.text.return_dropout
