"""Does the search find the best prefix, and say what random ones come to?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dt.text.reach import Best, _both, search

SIZE = 20


def reader(goal: list[int]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """As likely as a prefix has tokens of the goal; reached by all of them."""

    def read(prefixes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        right = (prefixes == np.array(goal, int)[: prefixes.shape[1]]).sum(axis=1)
        return right - 9.0, right == max(len(goal), 1)

    return read


def test_one_token_is_searched_exactly() -> None:
    best = search(reader([7]), 1, SIZE, 100, np.random.default_rng(0))
    assert best.prefix.tolist() == [7] and best.reached and best.tried == SIZE + 1
    nothing = search(reader([]), 0, SIZE, 100, np.random.default_rng(0))
    assert nothing.prefix.tolist() == [] and nothing.tried == 1


def test_several_are_exchanged_one_at_a_time_beside_as_many_random_ones() -> None:
    best, random = _both(reader([3, 9, 1]), 3, SIZE, 300, np.random.default_rng(0))
    assert best.prefix.tolist() == [3, 9, 1] and best.reached and best.tried <= 300
    assert isinstance(random, Best) and random.tried == best.tried
    assert random.log_prob < best.log_prob and not random.reached


@pytest.mark.slow
def test_both_verbs_on_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dt.cli.steer.command import main as steer
    from dt.cli.train import main as train

    run_dir = tmp_path / "run"
    words = ["text", "--run-dir", str(run_dir), "--num-steps", "2", "--log-interval", "1"]
    words += ["--model.width", "8", "--model.num-heads", "2", "--model.num-layers", "1"]
    words += ["--evaluation.judge", "none", "--evaluation.samples", "2"]
    assert train([*words, "--evaluation.num-targets", "2"], pytest.fail) == 0

    def verb(*words: str) -> str:
        few = ("--contexts", "3", "--context-tokens", "2", "--k", "0", "1")
        code = steer([str(run_dir), *words, *(few if words[0] in ("reach", "optimise") else ())])
        said = capsys.readouterr()
        assert code == (2 if said.err else 0)
        return said.err or said.out

    capsys.readouterr()
    assert "1 (exact)" in verb("reach")
    assert (run_dir / "steering" / "reach.json").is_file()
    assert "it names the token" in verb("optimise")
    assert "which is" not in verb("optimise", "--want", " the no such words")
    assert "no verb 'ask'" in verb("ask")
