"""Does a reward model learn which text is preferred, and does its card count rightly?"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dt.cli.evaluate import main as evaluate
from dt.cli.train import main as train
from dt.text.data.posts import Pairs, Posts
from dt.text.reward.contests import accuracies, pairs_of_posts

NO_DEMOS = pytest.fail
WORDS = ("a", "film", "of", "some", "people", "and", "then", "more")


def pairs(lengths: list[tuple[int, int]], later: list[float] | None = None) -> Pairs:
    texts = [("x" * a, "x" * b) for a, b in lengths]
    return Pairs(
        name="pairs",
        prompts=("",) * len(texts),
        chosen=tuple(a for a, _ in texts),
        rejected=tuple(b for _, b in texts),
        ratios=np.arange(1.0, len(texts) + 1),
        later=None if later is None else np.array(later),
        groups=tuple(map(str, range(len(texts)))),
    )


def test_kinds_of_pairs_are_counted_apart() -> None:
    found = accuracies(
        pairs([(10, 10), (10, 11), (10, 20), (30, 10)], [5.0, -0.5, 9.0, 0.1]),
        np.array([1.0, -1.0, 0.0, 2.0]),
    )
    counted = {row.name: (row.pairs, row.accuracy.value) for row in found}
    assert counted["all pairs"] == (4, 0.625)  # a tie is half
    assert counted["score at least 3 times the other's"] == (2, 0.75)
    assert counted["score at least 5 times the other's"] == (0, None)
    assert counted["the later one won"] == (3, pytest.approx(2.5 / 3))
    assert found[-1].name == "matched in length and time"
    assert found[-1].pairs == 0  # the nearest in time are of unlike length
    without = accuracies(pairs([(10, 10), (10, 30)]), np.array([1.0, -1.0]))
    assert without[-1].name == "matched in length (no times are known)"
    assert (without[-1].pairs, without[-1].accuracy.value) == (1, 1.0)
    low, high = found[0].accuracy.interval or (np.nan, np.nan)
    assert low < 0.625 < high


def test_posts_are_paired_within_their_group_and_few_times_each() -> None:
    count = 40
    posts = Posts(
        "posts",
        tuple(f"post {i}" for i in range(count)),
        np.arange(1.0, count + 1),
        groups=tuple("ab"[i % 2] for i in range(count)),
        times=np.arange(count) * 10.0,
    )
    found = pairs_of_posts(posts)
    assert found is not None and found.ratios is not None and found.later is not None
    names = [*found.chosen, *found.rejected]
    assert max(map(names.count, set(names))) <= 5 and len(set(names)) > 35
    for one, other, ratio, later in zip(
        found.chosen, found.rejected, found.ratios, found.later, strict=True
    ):
        a, b = int(one.split()[1]), int(other.split()[1])
        assert a > b and a % 2 == b % 2
        assert ratio == (a + 1) / (b + 1) and later == 10 * (a - b)
    alike = Posts("posts", ("a", "b"), np.ones(2))
    assert pairs_of_posts(alike) is None


def sentence(rng: np.random.Generator, good: int) -> str:
    words = [*rng.choice(WORDS, 5), *["good"] * good, *["dull"] * (2 - good)]
    return " ".join(rng.permutation(words))


def flags(data: Path, run_dir: Path, steps: int) -> list[str]:
    words = ["text-reward-model", "--data", str(data), "--run-dir", str(run_dir)]
    words += ["--num-steps", str(steps), "--log-interval", str(steps), "--model.width", "16"]
    return [*words, "--model.num-heads", "2", "--optimizer.learning-rate", "0.03"]


@pytest.mark.slow
def test_pairs_are_learned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng, data = np.random.default_rng(0), tmp_path / "pairs.jsonl"
    lines = [
        {"prompt": f"review {i}:", "chosen": sentence(rng, 2), "rejected": sentence(rng, 1)}
        for i in range(160)
    ]
    data.write_text("\n".join(map(json.dumps, lines)))
    assert train(flags(data, tmp_path / "run", 40), NO_DEMOS) == 0
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["accuracies"][0]["accuracy"]["value"] > 0.9
    assert card["accuracies"][-1]["name"].startswith("matched in length")
    assert "better than chance" in card["verdict"]
    out = " ".join(capsys.readouterr().out.split())
    assert "128 pairs to learn from, 32 held out" in out and "matched in length" in out


@pytest.mark.slow
def test_scores_are_learned_and_label_posts_without_votes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, data = np.random.default_rng(0), tmp_path / "posts.csv"
    scores = rng.integers(0, 3, 200)
    with data.open("w", newline="") as file:
        rows = [(f"{sentence(rng, score)} {i}", 10 * score) for i, score in enumerate(scores)]
        csv.writer(file).writerows([("text", "score"), *rows])
    run_dir = tmp_path / "run"
    assert train(flags(data, run_dir, 60), NO_DEMOS) == 0
    card = json.loads((run_dir / "card.json").read_text())
    assert card["rank_correlation"] > 0.8 and card["learns_from"] == "scores"
    unlabelled, out = tmp_path / "new.csv", tmp_path / "labelled.csv"
    unlabelled.write_text("title\na good good film of people\na dull dull film of people\n")
    capsys.readouterr()

    def label(*more: str) -> int:
        words = [str(run_dir), "--label", str(unlabelled), *more]
        return evaluate(words, lambda: pytest.fail("no environment is needed"))

    assert label("--column", "title", "--out", str(out)) == 0
    with out.open() as file:
        good, dull = csv.DictReader(file)
    assert float(good["score"]) > 12 > 8 > float(dull["score"])
    out.unlink()
    for words, said in (
        (("--out", str(out)), "has no column 'text' for --column"),
        (("--column", "title", "--out", "x.txt"), "--out is x.txt; it must name a .csv file"),
    ):
        assert label(*words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1 and not out.exists()
