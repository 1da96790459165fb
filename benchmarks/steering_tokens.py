"""Greedy coordinate gradient against random search: `python benchmarks/steering_tokens.py`

The data is made here: sequences of 128 actions, each favoured by the three before it, as in a small
language. A model of it is trained for some minutes; then, with its weights held fixed, four past
actions are searched that make a wanted action likely, in 40 contexts with a wanted action each.
Every method has the same passes (a gradient counts three); the sign test is over the 40.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from gymnasium import spaces

import dt
from dt import steering
from dt.data import EpisodeDataset
from dt.steering.contexts import draw_contexts

ACTIONS, RANK, SHARPNESS = 128, 12, 1.2


def make_data(episodes: int, length: int, seed: int) -> EpisodeDataset:
    """Draw sequences of a log-bilinear source: logits are sums of what each past action favours."""
    rng = np.random.default_rng(seed)
    past, following = rng.normal(size=(3, ACTIONS, RANK)), rng.normal(size=(ACTIONS, RANK))
    actions = np.zeros((episodes, length + 3), np.int64)
    actions[:, :3] = rng.integers(ACTIONS, size=(episodes, 3))
    for t in range(3, length + 3):
        favoured = sum(past[k, actions[:, t - 1 - k]] for k in range(3))
        logits = SHARPNESS * favoured @ following.T / np.sqrt(RANK / 3)
        actions[:, t] = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    actions = actions[:, 3:].ravel()
    count = len(actions)
    ends = np.zeros(count, bool)
    ends[length - 1 :: length] = True
    return EpisodeDataset(
        name="sequences",
        observations=np.zeros((count, 1), np.float32),
        actions=actions,
        rewards=(actions % 2).astype(np.float32),
        terminations=ends,
        truncations=np.zeros(count, bool),
        offsets=np.arange(0, count + 1, length),
        observation_space=spaces.Box(-1.0, 1.0, (1,), np.float32),
        action_space=spaces.Discrete(ACTIONS),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--targets", type=int, default=40)
    args = parser.parse_args()
    data = make_data(3000, 24, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        run = dt.train(
            data,
            run_dir=Path(folder) / "run",
            num_steps=args.updates,
            log_interval=100,
            checkpoint_interval=args.updates,
            model={"width": 64, "num_layers": 2, "context_length": 8},
            optimizer={"learning_rate": 3e-3, "warmup_steps": 100},
            on_message=lambda line: None,
        )
        lines = (run.directory / "metrics.jsonl").read_text().splitlines()
        print(f"trained: {lines[-1]}")
        policy = run.policy()
    held_out = dt.data.TrainingData.of(make_data(200, 24, seed=0))
    contexts = draw_contexts(held_out, policy.spec, args.targets, seed=7, least_steps=4)
    for method in ("greedy", "beam", "cem"):
        found = steering.optimize(
            policy,
            on=contexts,
            space="actions",
            length=4,
            want="other",
            method=method,
            budget=args.budget,
            exact=0,
        )
        scores = found.searched
        print(
            f"{method}: log p {scores.found.mean():.3f}, random at the same budget "
            f"{scores.random.mean():.3f}, unedited {scores.unedited.mean():.3f}; lift "
            f"{scores.lift(True):.2f} bits; better than random in {found.wins} of {found.decided} "
            f"(sign test p = {found.sign_p:.2g}); {found.outcome.cost}"
        )
    exact = steering.optimize(
        policy, on=contexts, space="actions", length=1, want="other", method="sweep"
    )
    print(f"one action, exact: log p {exact.searched.found.mean():.3f}")


if __name__ == "__main__":
    main()
