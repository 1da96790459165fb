"""Does `dt compare` train what is missing and nothing else, and set cards side by side?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cards import make_card

from dt.cli.compare import CompareConfig, groups_of, main, split_flags
from dt.data import EpisodeDataset
from dt.report.write import write_card, write_evaluation

TINY = (
    "--model.num-layers 1 --model.width 8 --data.batch-size 8 --data.cache none --log-interval 2 "
    "--checkpoint-interval 2 --evaluation.env CartPole-v1 --evaluation.max-episode-steps 20 "
    "--evaluation.num-targets 2"
).split()


def no_demo(source: str) -> EpisodeDataset:
    raise AssertionError(source)


def made_up(path: Path) -> Path:
    rng = np.random.default_rng(0)
    lengths = np.array([7, 2, 11, 5, 9, 3, 8, 12, 4, 6, 10, 13])
    count = lengths.sum()
    np.savez(
        path,
        observations=rng.normal(size=(count, 4)).astype(np.float32),
        actions=rng.integers(0, 2, count),
        rewards=np.ones(count, np.float32),
        episode_lengths=lengths,
    )
    return path


@pytest.mark.thorough
def test_variants_are_trained_once_and_what_was_interrupted_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    data, out = made_up(tmp_path / "log.npz"), tmp_path / "out"
    words = ["--data", str(data), "--variants", "rvs", "bc", "--seeds", "2", "--num-steps", "4"]
    words += ["--episodes", "2", *TINY, "--out", str(out)]
    assert main(words, no_demo) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    table = [
        line for line in shown.splitlines() if line.startswith(("│", "┃", "P", "return", "top"))
    ]
    assert max(map(len, table)) <= 80 and "P bc:" in shown and "done before" not in shown
    runs = [out / name for name in ("rvs-0", "rvs-1", "bc-0", "bc-1")]
    cards = [json.loads((run / "card.json").read_text()) for run in runs]
    assert [len(card["targets"]) for card in cards] == [2, 2, 1, 1]
    assert [card["seed"] for card in cards] == [0, 1, 0, 1]
    assert cards[2]["calibration"] is None and "takes no return" in cards[2]["verdict"]
    entries = json.loads((out / "compare.json").read_text())["contenders"]
    assert [entry["name"] for entry in entries] == ["rvs", "bc"]
    assert len(json.loads((out / "cards" / "bc.json").read_text())["runs"]) == 2

    # As if the process had been killed at update 2 of one run: that one alone goes on.
    (runs[1] / "card.json").unlink()
    shutil.rmtree(runs[1] / "checkpoints" / "4")
    stamps = [(run / "card.json").stat().st_mtime_ns for run in (runs[0], *runs[2:])]
    assert main(words, no_demo) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert shown.count("done before") == 3 and "rvs, seed 1 (2 of 4): return" in shown
    assert stamps == [(run / "card.json").stat().st_mtime_ns for run in (runs[0], *runs[2:])]
    again = json.loads((runs[1] / "card.json").read_text())
    assert again["targets"] == cards[1]["targets"] and again["checkpoint_step"] == 4

    # What is finished and asked for more updates says what becomes of it.
    longer = [*words, "--variants", "rvs", "--seeds", "1", "--num-steps", "6"]
    assert main([*longer, "--evaluation.interval", "2"], no_demo) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    said = f"rvs, seed 0 (1 of 1): {runs[0]}: is a run of 4 updates; it is trained on to 6"
    assert said in shown and "note: the run has 6 updates now, 4 before" in shown
    assert json.loads((runs[0] / "card.json").read_text())["checkpoint_step"] == 6
    assert (runs[0] / "cards" / "training-6.png").stat().st_size > 5000
    log = [json.loads(line) for line in (runs[0] / "metrics.jsonl").read_text().splitlines()]
    finals = [line for line in log if "final/picture" in line]
    assert [line["step"] for line in finals] == [4, 6]

    other = [*words, "--model.num-heads", "2"]
    assert main(other, no_demo) == 2
    refused = capsys.readouterr().err
    assert "model.num_heads 2" in refused and len(refused.strip().splitlines()) == 1


def test_any_number_of_cards_is_set_side_by_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        run = tmp_path / f"run{number}"
        run.mkdir()
        write_card(make_card(offset=1.5 * number), run)
    single = write_evaluation(make_card(gain=0.5), tmp_path / "run0", "last-p50-e4-s0")[0]
    words = [str(tmp_path / f"run{number}") for number in range(3)] + [str(single)]
    assert main([*words, "--out", str(tmp_path / "out")], no_demo) == 0
    shown = capsys.readouterr().out
    assert (
        "P run2: 1.00" in shown and "last-p50-e4-s0" in shown and "bootstrap over episodes" in shown
    )
    assert (tmp_path / "out" / "compare-improvement.png").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--variants", "dt", "cql"], "--variants cql: there are dt, bc"),
        (["--variants", "dt", "dt"], "name each variant once"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--sweep", "seed"], "name the values after the flag"),
        (["a.json", "--data", "log.npz"], "leave out --data"),
        (["a.json", "--model.width", "8"], "--model.width is of training"),
        (["a.json"], "no such card"),
        (["--preset", "cartpol"], "did you mean 'cartpole'"),
        (["--sweep", "model.widht", "8", "16"], "did you mean --model.width"),
        (["--sweep", "model.width", "8", "-1"], "model.width is -1"),
        (["--seed", "3"], "Unrecognized options: --seed"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_nothing_is_trained(
    tmp_path: Path,
    args: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(args, no_demo) == 2
    refused = capsys.readouterr().err
    assert message in refused and len(refused.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_sweep_is_every_variant_with_every_value() -> None:
    own, passed = split_flags(
        "--variants bc dt --sweep optimizer.learning-rate 1e-4 3e-4 --model.width 16".split()
    )
    assert passed == ["--model.width", "16"] and "--model.width" not in own
    config = CompareConfig(variants=["bc", "dt"], sweep=["optimizer.learning-rate", "1e-4", "3e-4"])
    groups = groups_of(config, passed)
    assert [group.name for group in groups] == [
        f"{variant} learning-rate={value}" for variant in ("bc", "dt") for value in ("1e-4", "3e-4")
    ]
    assert groups[0].flags[:2] == passed and groups[3].flags[-2:] == [
        "--optimizer.learning-rate",
        "3e-4",
    ]
    assert len({group.folder for group in groups}) == 4
