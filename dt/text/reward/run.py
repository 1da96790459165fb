"""A reward model's run: what it learns from, in which directory, and its training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dt.checkpoint.load import find_checkpoint
from dt.checkpoint.manifest import checkpoints_of, complete_steps
from dt.checkpoint.state import TrainState
from dt.config.text import TextConfig
from dt.files import sha256_of, shown
from dt.parallel.mesh import Mesh
from dt.parallel.processes import first_decides
from dt.text.corpus import load_corpus
from dt.text.data.posts import Pairs, Posts
from dt.text.data.read import holds_pairs, read_pairs
from dt.text.data.scores import ScoreScale
from dt.text.data.tokenizers import Tokenizer, make_tokenizer
from dt.text.pretrained.read import Pretrained
from dt.text.pretrained.tokenizer import tokenizer_of
from dt.text.reward.learner import RewardLearner
from dt.text.reward.rows import RewardRows, rows_of_pairs, rows_of_posts
from dt.text.reward.spec import LearnsFrom, RewardSpec, load_reward_spec
from dt.text.rows import TextFeed
from dt.text.run import pretrained_of
from dt.text.spec import TextSummary
from dt.training.hooks import Hooks
from dt.training.loop import train_learner
from dt.training.run import begun, profiled, start_jax
from dt.training.run_directory import named_or_newest, open_run
from dt.training.trackers import refuse_missing_trackers

SPLIT = 0x9A125  # of the random numbers that deal pairs out; the same for every seed of training
FEWEST = 8  # pairs of a part


@dataclass(frozen=True, eq=False)
class Material:
    """What a reward model learns from and is tried on: pairs, or posts with scores."""

    learns_from: LearnsFrom
    train: Pairs | Posts
    test: Pairs | Posts
    scale: ScoreScale
    sha256: str
    percentiles: tuple[float, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RewardRun:
    """All that training needs; `prepare_reward` makes one."""

    preset: str
    config: TextConfig
    material: Material
    spec: RewardSpec
    rows: RewardRows
    holdout: RewardRows
    directory: Path
    notes: tuple[str, ...]
    pretrained: Pretrained | None

    def describe(self) -> list[str]:
        """Say in lines what is trained on and what is to be known about it."""
        material, model = self.material, self.spec.model
        what = "pairs" if material.learns_from == "pairs" else "posts with scores"
        lines = [
            f"{material.train.name}: {len(material.train)} {what} to learn from, "
            f"{len(material.test)} held out",
            f"{self.spec.tokenizer.size} tokens; {model.num_layers} layers of width {model.width}",
            *(f"note: {note}" for note in self.notes),
        ]
        return [shown(line) for line in lines]


def load_material(config: TextConfig) -> Material:
    """Read pairs or posts, as the file's columns have it, and hold some out.

    Raises:
        ValueError: for a source that is not named or cannot be used, in one line.
    """
    source = config.data.source
    if source and Path(source).is_file() and holds_pairs(source):
        pairs = read_pairs(source)
        train, test = _dealt(pairs, config.text.test_fraction)
        unit = ScoreScale("raw", 0.0, 1.0)
        empty = (0.0,) * 101  # pairs have no scores
        sha256 = sha256_of(Path(source))
        return Material("pairs", train, test, unit, sha256, empty, pairs.notes)
    corpus = load_corpus(config)
    scored = dataclasses.replace(corpus.posts, scores=corpus.values)
    return Material(
        "scores",
        scored.at(corpus.split.generator),
        scored.at(corpus.split.test),
        corpus.scale,
        corpus.sha256,
        corpus.percentiles,
        corpus.notes,
    )


def prepare_reward(
    preset: str, config: TextConfig, *, on_message: Callable[[str], None] = print
) -> RewardRun:
    """Read what is learned from, learn or read the tokenizer, and claim the run's directory.

    Raises:
        ValueError: as `dt.text.run.prepare_text`.
    """
    refuse_missing_trackers(config)
    if config.init_from:
        raise ValueError(
            f"--init-from {config.init_from}: a reward model begins with weights of its own, or "
            f"those of --from; leave it out"
        )
    start_jax(config.distributed)
    pretrained = pretrained_of(config)
    material = load_material(config)
    tokenizer = _tokenizer_of(preset, config, material, pretrained)
    model = dataclasses.replace(config.model, vocabulary=tokenizer.size)
    if pretrained is not None:
        model = pretrained.config
    rows, cut = _rows(material, material.train, tokenizer, model.longest)
    holdout, _ = _rows(material, material.test, tokenizer, model.longest)
    summary = TextSummary(
        name=material.train.name,
        sha256=material.sha256,
        num_posts=len(material.train),
        num_tokens=int((rows.lengths - rows.begins).sum()),
        percentiles=material.percentiles,
    )
    notes = list(material.notes)
    if cut:
        notes.append(
            f"{cut} texts are longer than {model.longest} tokens and cut; --model.longest sets more"
        )
    return RewardRun(
        preset=preset,
        config=config,
        material=material,
        spec=RewardSpec(model, tokenizer, material.scale, summary, material.learns_from),
        rows=rows,
        holdout=holdout,
        directory=Path(first_decides(lambda: str(open_run(preset, config)))),
        notes=tuple(notes),
        pretrained=pretrained,
    )


def fit_reward(run: RewardRun, *, hooks: Hooks | None = None) -> TrainState:
    """Train the run to its last update, as `dt.text.run.fit_text` does."""
    hooks = profiled(hooks or Hooks(), run.config, run.directory)
    learner = RewardLearner(run.spec, run.config, run.pretrained)

    def feed(mesh: Mesh) -> TextFeed:
        return TextFeed(run.rows, run.holdout, run.config, mesh)

    with begun(run.preset, run.config, run.directory, hooks.on_message):
        return train_learner(learner, feed, run.directory, hooks=hooks)


def _rows(
    material: Material, part: Pairs | Posts, tokenizer: Tokenizer, longest: int
) -> tuple[RewardRows, int]:
    if isinstance(part, Pairs):
        return rows_of_pairs(part, tokenizer, longest)
    return rows_of_posts(part, material.scale.to_model(part.scores), tokenizer, longest)


def _dealt(pairs: Pairs, test_fraction: float) -> tuple[Pairs, Pairs]:
    """Deal pairs out by group, which none of both parts shares with the other."""
    names, numbers = np.unique(np.array(pairs.groups), return_inverse=True)
    order = np.random.default_rng(SPLIT).permutation(len(names))
    held_out = np.isin(numbers, order[: max(1, round(test_fraction * len(names)))])
    parts = pairs.at(np.flatnonzero(~held_out)), pairs.at(np.flatnonzero(held_out))
    if min(map(len, parts)) < FEWEST:
        raise ValueError(
            f"{pairs.name}: {min(map(len, parts))} pair(s) are left for a part, and {FEWEST} are "
            f"the fewest; give more pairs, or another text.test_fraction"
        )
    return parts


def _tokenizer_of(
    preset: str, config: TextConfig, material: Material, pretrained: Pretrained | None
) -> Tokenizer:
    """Take the tokenizer of the run that is resumed, of the weights, or make one of the texts."""
    if config.resume:
        run_dir = named_or_newest(preset, config.run_dir)
        if run_dir.is_dir() and complete_steps(checkpoints_of(run_dir)):
            return load_reward_spec(find_checkpoint(run_dir)).tokenizer
    text, train = config.text, material.train
    if pretrained is not None:
        return tokenizer_of(pretrained, text)
    texts = (*train.chosen, *train.rejected) if isinstance(train, Pairs) else train.texts
    return make_tokenizer(text.tokenizer, (*texts, *train.prompts), text.vocabulary, text.end_token)
