"""Stable-Baselines3 models (`.zip`) as behaviors, by that package, from the extra `sb3`.

Reading such a file runs code that is inside it (it holds pickles): use files that you trust.
"""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

import gymnasium
import numpy as np

from dt.collect.behaviors.acting import Behavior, Generators


def sb3_behavior(
    path: Path,
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    deterministic: bool,
) -> Behavior:
    """Load the policy inside a saved model, of any algorithm whose package is installed.

    Observations are given as they are: statistics of VecNormalize lie in a file of their own,
    which is not read.

    Raises:
        ValueError: when the package is not installed, the file is none of its models, or the
            model's spaces are others.
    """
    try:
        import torch
        from stable_baselines3.common.save_util import load_from_zip_file
    except ImportError as error:
        raise ValueError(
            f"--policy sb3:{path} needs stable-baselines3 ({error}); install the extra with "
            f"`pip install 'dt-steer[sb3]'`"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of parts that are skipped, such as schedules
            data, params, _ = load_from_zip_file(path, device="cpu")
        kwargs = dict(data["policy_kwargs"])
        kwargs.pop("device", None)  # of the machine it was trained on
        policy_class = data["policy_class"]
        if "use_sde" in inspect.signature(policy_class).parameters:
            kwargs.setdefault("use_sde", data.get("use_sde", False))
        spaces = data["observation_space"], data["action_space"]
        policy = policy_class(*spaces, lambda _: 0.0, **kwargs)
        policy.load_state_dict(params["policy"])
    except Exception as error:  # the file is another program's, and so is its reader
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{path}: not a readable stable-baselines3 model ({reason[0]})") from error
    for name, have, want in (
        ("observations", observation_space, policy.observation_space),
        ("actions", action_space, policy.action_space),
    ):
        if have.shape != want.shape or type(have).__name__ != type(want).__name__:
            raise ValueError(f"{path}: its {name} are {want}, but the environment's are {have}")
    policy.set_training_mode(False)

    def act(observations: np.ndarray, rngs: Generators) -> np.ndarray:
        actions = []
        for observation, rng in zip(observations, rngs, strict=True):
            # A row at a time, for its sample comes from PyTorch's one generator.
            torch.manual_seed(int(rng.integers(2**31)))
            actions.append(policy.predict(observation, deterministic=deterministic)[0])
        return np.stack(actions).astype(action_space.dtype)

    return Behavior(f"sb3:{path.stem}", act)
