"""Add a data format from outside the package, and read a file that has it.

The format: a text file whose lines are JSON, one a step, such as
{"episode": 0, "saw": [0.1, 0.0, 0.2, 0.0], "did": 1, "got": 1.0}
It takes two seconds of a core.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import dt


def read_lines(
    path: Path, env_id: str | None, env_kwargs: dict[str, Any] | None
) -> dt.EpisodeDataset:
    """Read the file; a ValueError names it, the line and the remedy."""
    columns: dict[str, list[Any]] = {"episode": [], "saw": [], "did": [], "got": []}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            step = json.loads(line)
            for key, values in columns.items():
                values.append(step[key])
        except (ValueError, KeyError, TypeError) as error:
            keys = ", ".join(columns)
            raise ValueError(f"{path}: line {number} is no step; give JSON with {keys}") from error
    arrays = {
        "observations": np.array(columns["saw"], np.float32),
        "actions": np.array(columns["did"]),
        "rewards": np.array(columns["got"], np.float32),
        "episode_lengths": np.unique(columns["episode"], return_counts=True)[1],
    }
    return dt.from_arrays(str(path), arrays, env_id, env_kwargs)


dt.add_format(
    dt.Format(
        name="step-lines",
        read=read_lines,
        file="a .jsonl file with a step a line",
        is_file=lambda path, head: path.suffix == ".jsonl" and head.startswith(b"{"),
    )
)


def write_log(path: Path, episodes: int) -> None:
    """Play CartPole at random, and log it."""
    env, rng = gymnasium.make("CartPole-v1"), np.random.default_rng(0)
    with path.open("w") as file:
        for episode in range(episodes):
            observation, _ = env.reset(seed=episode)
            over = False
            while not over:
                action = int(rng.integers(2))
                after, reward, terminated, truncated, _ = env.step(action)
                step = {"episode": episode, "saw": observation.tolist(), "did": action}
                file.write(json.dumps({**step, "got": reward}) + "\n")
                observation, over = after, terminated or truncated


def main(path: Path = Path("log.jsonl"), episodes: int = 200) -> dt.EpisodeDataset:
    """Write a log and read it; `dt.train(str(path), env_id="CartPole-v1")` trains on it."""
    write_log(path, episodes)
    data = dt.load_data(path, "CartPole-v1")
    print(f"{len(data)} episodes, returns up to {data.returns.max():.0f}")
    return data


if __name__ == "__main__":
    main()
