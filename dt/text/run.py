"""A run on text: what it learns from, in which directory, and its training from end to end."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dt.checkpoint.load import find_checkpoint
from dt.checkpoint.manifest import checkpoints_of, complete_steps
from dt.checkpoint.state import TrainState
from dt.config.text import TextConfig
from dt.files import read_json, shown, structured
from dt.parallel.mesh import Mesh
from dt.parallel.processes import first_decides
from dt.text.corpus import Corpus, load_corpus, told_scores
from dt.text.data.tokenizers import Tokenizer, make_tokenizer
from dt.text.judges import Judge, make_judge
from dt.text.learner import TextLearner
from dt.text.pretrained.read import Pretrained, open_pretrained
from dt.text.pretrained.tokenizer import tokenizer_of
from dt.text.rows import TextFeed, TextRows, tokenised
from dt.text.spec import TextSpec, TextSummary, load_text_spec
from dt.training.hooks import Hooks
from dt.training.loop import train_learner
from dt.training.run import begun, profiled, start_jax
from dt.training.run_directory import CONFIG, named_or_newest, open_run
from dt.training.trackers import refuse_missing_trackers


@dataclass(frozen=True, eq=False)
class TextRun:
    """All that training needs; `prepare_text` makes one."""

    preset: str
    config: TextConfig
    corpus: Corpus
    spec: TextSpec
    rows: TextRows
    holdout: TextRows
    judge: Judge | None
    """Who judges the card; made before training, which it would be late to fail after."""
    directory: Path
    notes: tuple[str, ...]
    pretrained: Pretrained | None = None

    def describe(self) -> list[str]:
        """Say in lines what is trained on and what is to be known about it."""
        model = self.spec.model
        lines = [
            *self.corpus.describe(),
            f"{self.spec.tokenizer.size} tokens, {self.spec.dataset.num_tokens} of them to learn; "
            f"{model.num_layers} layers of width {model.width}",
            *(f"note: {note}" for note in self.notes),
        ]
        return [shown(line) for line in lines]


def prepare_text(
    preset: str, config: TextConfig, *, on_message: Callable[[str], None] = print
) -> TextRun:
    """Read the posts, learn or read the tokenizer, and claim the run's directory.

    Args:
        preset: names the directory where the configuration does not.

    Raises:
        ValueError: for posts, a judge or a tokenizer that cannot be used, and for a directory that
            is taken, missing or of another configuration.
    """
    refuse_missing_trackers(config)
    if config.init_from:
        raise ValueError(
            f"--init-from {config.init_from}: a run on text begins with weights of its own; leave "
            f"it out"
        )
    start_jax(config.distributed)
    pretrained = pretrained_of(config)
    corpus = load_corpus(config)
    tokenizer = _tokenizer_of(preset, config, corpus, pretrained)
    model = dataclasses.replace(config.model, vocabulary=tokenizer.size)
    if pretrained is not None:
        model = pretrained.config
    own = corpus.posts.at(corpus.split.generator)
    told = corpus.scale.to_model(told_scores(corpus, config))
    rows, cut = tokenised(own.texts, own.prompts, told, tokenizer, model.longest)
    holdout, _ = holdout_rows(corpus, tokenizer, model.longest)
    summary = TextSummary(
        name=corpus.posts.name,
        sha256=corpus.sha256,
        num_posts=len(own),
        num_tokens=int((rows.lengths - rows.begins).sum()),
        percentiles=corpus.percentiles,
    )
    spec = TextSpec(model, tokenizer, corpus.scale, summary, config.evaluation.guidance)
    notes = []
    if cut:
        notes.append(
            f"{cut} posts are longer than {model.longest} tokens and cut; --model.longest sets more"
        )
    return TextRun(
        preset=preset,
        config=config,
        corpus=corpus,
        spec=spec,
        rows=rows,
        holdout=holdout,
        judge=make_judge(config.evaluation.judge, corpus),
        directory=Path(first_decides(lambda: str(open_run(preset, config)))),
        notes=tuple(notes),
        pretrained=pretrained,
    )


def holdout_rows(corpus: Corpus, tokenizer: Tokenizer, longest: int) -> tuple[TextRows, int]:
    """Lay the test's posts out as rows, with their true scores."""
    test = corpus.posts.at(corpus.split.test)
    told = corpus.scale.to_model(corpus.values[corpus.split.test])
    return tokenised(test.texts, test.prompts, told, tokenizer, longest)


def fit_text(run: TextRun, *, hooks: Hooks | None = None) -> TrainState:
    """Train the run to its last update; config.json, the log and checkpoints are in its directory.

    Raises:
        ValueError: when another process trains into the directory, when it holds a run already,
            and as `dt.training.loop.train_learner`.
        KeyboardInterrupt: as that.
    """
    hooks = profiled(hooks or Hooks(), run.config, run.directory)
    learner = TextLearner(run.spec, run.config, run.pretrained)

    def feed(mesh: Mesh) -> TextFeed:
        return TextFeed(run.rows, run.holdout, run.config, mesh)

    with begun(run.preset, run.config, run.directory, hooks.on_message):
        return train_learner(learner, feed, run.directory, hooks=hooks)


def config_of_run(run_dir: Path) -> TextConfig:
    """Read the configuration of a run on text; what is younger than it is at its default.

    Raises:
        ValueError: naming the file and what is wrong in it.
    """
    path = run_dir / CONFIG
    values = read_json(path)
    if not isinstance(values, dict) or "text" not in values:
        raise ValueError(f"{path}: is no run's on text")
    values.pop("preset", None)
    try:
        return structured(TextConfig, values)
    except ValueError as error:
        raise ValueError(shown(f"{path}: {error}")) from None


def pretrained_of(config: TextConfig) -> Pretrained | None:
    """Read the header of the weights that a run begins with; None for random ones.

    Raises:
        ValueError: in one line, for what cannot be begun with.
    """
    if not config.start.source:
        return None
    found = open_pretrained(Path(config.start.source), config.model)
    blocks, held = config.start.blocks, found.config.num_layers
    if config.start.trained == "blocks" and blocks > held:
        raise ValueError(f"start.blocks is {blocks}; {config.start.source} has {held} blocks")
    return found


def _tokenizer_of(
    preset: str, config: TextConfig, corpus: Corpus, pretrained: Pretrained | None
) -> Tokenizer:
    """Take the tokenizer of the run that is resumed, of the weights, or make one of the posts."""
    if config.resume:
        run_dir = named_or_newest(preset, config.run_dir)
        if run_dir.is_dir() and complete_steps(checkpoints_of(run_dir)):
            return load_text_spec(find_checkpoint(run_dir)).tokenizer
    own = corpus.posts.at(corpus.split.generator)
    text = config.text
    if pretrained is not None:
        return tokenizer_of(pretrained, text)
    return make_tokenizer(
        text.tokenizer, (*own.texts, *own.prompts), text.vocabulary, text.end_token
    )
