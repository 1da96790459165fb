"""robomimic's demonstrations come back, each an episode, with their observations by key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from gymnasium import spaces

from dt.data.formats.sources import load_dataset, recognise

LENGTHS = {"demo_0": 3, "demo_2": 2, "demo_10": 4}


def write(path: Path, keys: tuple[str, ...] = ("eef_pos", "image"), **more: Any) -> Path:
    """As robomimic's dataset_states_to_obs.py writes it."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        for demo, length in LENGTHS.items():
            group = data.create_group(demo)
            group.attrs["num_samples"] = length
            group["actions"] = rng.uniform(-1, 1, (length, 7))
            group["rewards"] = np.arange(length, dtype=np.float64)
            group["dones"] = (np.arange(length) == length - 1) & (demo != "demo_10")
            group["states"] = rng.normal(size=(length, 5))
            for kind in ("obs", "next_obs"):
                if "eef_pos" in keys:
                    group[f"{kind}/eef_pos"] = np.full((length, 3), length + (kind != "obs"))
                if "image" in keys:
                    group[f"{kind}/image"] = np.zeros((length, 8, 8, 3), np.uint8)
        file["mask/train"] = np.array([b"demo_0"])
    return path


def test_demonstrations_come_back_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "demo.hdf5")
    with path.open("rb") as file:
        assert recognise(path).name == "robomimic" and file
    dataset = load_dataset(str(path))
    assert dataset.lengths.tolist() == [3, 2, 4]
    assert isinstance(dataset.observation_space, spaces.Dict)
    assert dataset.observations["eef_pos"][:, 0].tolist() == [3] * 3 + [2] * 2 + [4] * 4
    assert dataset.observations["image"].shape == (9, 8, 8, 3)
    assert dataset.terminations[[2, 4, 8]].tolist() == [True, True, False]
    assert dataset.truncations[8] and dataset.returns.tolist() == [3, 1, 6]
    assert dataset.final_observations is not None
    assert dataset.final_observations["eef_pos"][:, 0].tolist() == [4, 3, 5]
    assert "robomimic, 3 demonstrations, observations of eef_pos, image" in dataset.notes[0]


def test_one_key_is_a_plain_array(tmp_path: Path) -> None:
    dataset = load_dataset(str(write(tmp_path / "demo.hdf5", ("eef_pos",))))
    assert dataset.observations.shape == (9, 3)


def test_demonstrations_without_observations_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data/demo_0 has no obs; extract .*dataset_states_to_obs"):
        load_dataset(str(write(tmp_path / "demo.hdf5", ())))


@pytest.mark.parametrize("key", ["actions", "dones", "obs/image"])
def test_a_key_that_is_missing_in_one_demonstration_is_named(tmp_path: Path, key: str) -> None:
    path = write(tmp_path / "demo.hdf5")
    with h5py.File(path, "r+") as file:
        del file[f"data/demo_2/{key}"]
    with pytest.raises(ValueError, match=f"has no key 'data/demo_2/{key}'"):
        load_dataset(str(path))
