"""Posts without votes are labelled by a reward model; those labels are returns like any other."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from dt.files import written_whole
from dt.text.data.columns import read_columns
from dt.text.data.posts import Posts
from dt.text.reward.scorer import load_scorer

SCORE = "score"


def label_file(
    run_dir: Path,
    source: Path,
    out: Path,
    column: str = "text",
    prompt: str = "",
    checkpoint: str | int = "last",
) -> int:
    """Write the texts of a file with a score each, as a CSV file of columns text, prompt, score.

    Args:
        column, prompt: of the source; without a prompt's column none is written.

    Returns:
        How many posts were labelled.

    Raises:
        ValueError: for a run, a file or a column that cannot be used, in one line.
    """
    scorer = load_scorer(run_dir, checkpoint)
    columns = read_columns(source)
    texts = columns.texts(column, "--column")
    prompts = columns.texts(prompt, "--prompt") if prompt else ()
    posts = Posts(str(source), texts, np.zeros(len(texts)), prompts)  # which refuses empty texts
    scores = scorer.spec.scale.raw(scorer(posts.texts, posts.prompts))
    with written_whole(out) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", *(["prompt"] if prompts else []), SCORE])
        for number, text in enumerate(posts.texts):
            own = [prompts[number]] if prompts else []
            writer.writerow([text, *own, f"{scores[number]:.6g}"])
    return len(posts)
