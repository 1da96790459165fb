"""The examples run as they are, with fewer episodes and updates than a user waits for."""

from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import dt
from dt.data import formats

EXAMPLES = Path(__file__).parent.parent / "examples"
SMALL: dict[str, Any] = {
    "log_interval": 2,
    "model": {"num_layers": 1, "width": 8, "context_length": 3},
    "data": {"batch_size": 8},
}
# What the notebook asks for -> what the test can wait for.
SMALLER = {
    "num_steps=3000": f"num_steps=4, {', '.join(f'{k}={v}' for k, v in SMALL.items())}",
    "episodes=20": "episodes=2, targets=[9.0, 20.0]",
    "reset(100.0)": "reset(20.0)",
}


@pytest.fixture(autouse=True)
def leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an example adds is gone after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(formats, "_added", [])
    tables: tuple[dict[str, Any], ...] = (dt.HEADS, dt.ENCODERS, dt.SCORES, gymnasium.registry)
    before = [dict(table) for table in tables]
    yield
    for table, was in zip(tables, before, strict=True):
        for name in set(table) - set(was):
            del table[name]
    for path in EXAMPLES.glob("*.py"):
        sys.modules.pop(path.stem, None)


def main_of(example: str) -> Callable[..., Any]:
    return importlib.import_module(example.removesuffix(".py")).main


def cells() -> list[str]:
    notebook = json.loads((EXAMPLES / "quickstart.ipynb").read_text())
    assert notebook["nbformat"] == 4
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    return ["".join(cell["source"]) for cell in code]


def test_every_example_is_run_here_and_imports_no_more_of_the_package_than_its_public_names() -> (
    None
):
    tested = Path(__file__).read_text()
    for path in EXAMPLES.iterdir():
        assert f'"{path.name}"' in tested, path
        source = "\n".join(cells()) if path.suffix == ".ipynb" else path.read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "dt":
                assert node.attr in dt.__all__, (path, node.attr)
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith(("dt.", "envs", "tests"))]
            assert not isinstance(node, ast.ImportFrom) or node.module != "dt"


@pytest.mark.slow
def test_the_notebook_of_fifteen_lines_trains_evaluates_plots_and_acts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = "\n".join(cells())
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    names: dict[str, Any] = {}
    assert all(asked in code for asked in SMALLER)
    for cell in cells():
        for asked, small in SMALLER.items():
            cell = cell.replace(asked, small)
        exec(cell, names)
    assert [row.target for row in names["card"].targets] == [9.0, 20.0]
    axes = names["plt"].gca()
    assert axes.get_title() == names["card"].verdict and len(axes.lines) == 2
    names["plt"].close("all")
    assert f"asked for 100, {names['received']:.0f} came" in capsys.readouterr().out


@pytest.mark.slow
def test_a_head_from_outside_learns_and_acts(tmp_path: Path) -> None:
    changes = {**SMALL, "model": {**SMALL["model"], "head": "laplace"}, "run_dir": "run"}
    card = main_of("own_head.py")(4, 6, 4, **changes, evaluation={"max_episode_steps": 6})
    assert [row.length_mean for row in card.targets] == [6.0] * 3
    assert json.loads(Path("run/config.json").read_text())["model"]["head"] == "laplace"
    policy = dt.load_policy("run", deterministic=False)  # the head is found by its name again
    policy.reset(-5.0)
    action = policy.act(np.zeros(3, np.float32))
    assert action.shape == (1,) and abs(action[0]) <= 2.0
    del dt.HEADS["laplace"]
    with pytest.raises(ValueError, match="model.head is 'laplace'; there are deterministic"):
        dt.load_policy("run")


@pytest.mark.slow
def test_an_encoder_from_outside_learns_and_acts(tmp_path: Path) -> None:
    card = main_of("own_encoder.py")(4, **SMALL, run_dir="run")
    assert len(card.targets) == 3
    assert json.loads(Path("run/config.json").read_text())["model"]["number_encoder"] == "grid"
    policy = dt.load_policy("run")  # the encoder is found by its name again
    policy.reset(20.0)
    assert int(policy.act(np.zeros(4, np.float32))) in (0, 1)
    del dt.ENCODERS["grid"]
    with pytest.raises(ValueError, match="model.number_encoder is 'grid'; there are linear, wav"):
        dt.load_policy("run")
    with pytest.raises(ValueError, match="model.number_encoder is 'convolutions'"):
        dt.train("demo:cartpole", "cartpole", run_dir="b", model={"number_encoder": "convolutions"})


def test_a_format_from_outside_is_read_and_its_errors_name_the_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    data = main_of("own_format.py")(path, 3)
    steps = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(data) == 3 and data.num_steps == len(steps)
    assert data.actions.tolist() == [step["did"] for step in steps]
    path.write_text(path.read_text() + '{"episode": 3}\n')
    with pytest.raises(ValueError, match=rf"log.jsonl: line {len(steps) + 1} is no step; give"):
        dt.load_data(path)


@pytest.mark.slow
def test_an_environment_of_ones_own_with_dict_observations() -> None:
    card = main_of("dict_observations.py")(6, 4, **SMALL)
    assert card.env_id == "Reach-v0" and [row.length_mean for row in card.targets] == [20.0] * 3


@pytest.mark.slow
def test_a_score_of_ones_own_stands_on_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = {"num_targets": 2, "episodes": 2}
    run = main_of("own_score.py")(4, **SMALL, evaluation=evaluation, run_dir="run")
    card = json.loads((run.directory / "card.json").read_text())
    short = np.mean(
        [max(row["target"] - came, 0) for row in card["targets"] for came in row["episode_returns"]]
    )
    assert card["calibration"]["shortfall"] == pytest.approx(short)
    assert f"shortfall {short:.1f} (" in capsys.readouterr().out


def test_a_lexicon_judges_texts() -> None:
    score = importlib.import_module("sentiment_lexicon.py".removesuffix(".py")).score
    assert score(["A wonderful, happy end", "An awful crash", "so"]) == [2.0, -2.0, 0.0]
