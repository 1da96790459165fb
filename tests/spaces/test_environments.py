"""An environment's spaces are known where it can be made here, and nowhere else."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from dt.spaces.environments import known_spaces, kwargs_of, why_not_trusted


@pytest.mark.parametrize("name", [None, "Nowhere-v7", "module:Name-v0"])
def test_an_environment_that_is_not_registered_has_no_known_spaces(name: str | None) -> None:
    assert known_spaces(name, {}) is None


def test_an_environment_that_is_registered_has_its_own() -> None:
    found = known_spaces("CartPole-v1", {})
    assert found is not None and found[1] == spaces.Discrete(2)


def test_a_module_runs_only_where_the_user_names_it() -> None:
    assert why_not_trusted("CartPole-v1", {}) is None
    assert why_not_trusted("Nowhere-v7", {}) is None  # nothing is there to run
    reason = why_not_trusted("evil_module:Nice-v0", {})
    assert reason == "its environment 'evil_module:Nice-v0' would run the module 'evil_module'"
    assert why_not_trusted("evil_module:Nice-v0", {}, "evil_module:Nice-v0") is None
    assert why_not_trusted("evil_module:Nice-v0", {}, "evil_module:Other-v0") is not None
    assert why_not_trusted("json:Nice-v0", {}) is None  # this program has imported it
    for odd in (":Nice-v0", "a:b:Nice-v0", "../evil:Nice-v0"):
        assert why_not_trusted(odd, {}) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("xml_file", "../evil.xml"),
        ("xml_file", "evil"),
        ("game", "../../evil"),
        ("env_id", "evil_module:Nice-v0"),
        ("anything", {"deep": ["~/evil"]}),
        ("anything", ["x", "evil.xml"]),
        ("anything", "os:system"),
        ("make_kwargs", {"path": "C:\\evil"}),
        ("texture_path", "evil"),
    ],
)
def test_an_argument_that_may_name_a_file_or_code_is_not_handed_on(name: str, value: Any) -> None:
    for named in ("", "CartPole-v1"):
        reason = why_not_trusted("CartPole-v1", {name: value}, named)
        assert reason is not None and f"would be given {name}=" in reason
    assert known_spaces("CartPole-v1", {name: value}) is None


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_episode_steps": 9, "render_mode": "rgb_array", "sutton_barto_reward": True},
        {"maze_map": [[1, "r", "g"], [1, 1, 0]], "reward_type": "sparse", "scale": 1.5},
        {"desc": ["SFFF", "FHFG"], "map_name": None, "obs_type": "ram", "full_action_space": False},
        {"tasks_to_complete": ["bottom burner", "microwave"]},
    ],
)
def test_plain_arguments_are_handed_on(kwargs: dict[str, Any]) -> None:
    assert why_not_trusted("CartPole-v1", kwargs) is None


def test_what_an_environment_is_registered_with_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = EnvSpec("Own-v0", "nowhere:Nothing", kwargs={"xml_file": "own.xml"})
    monkeypatch.setitem(gymnasium.registry, "Own-v0", spec)
    assert why_not_trusted("Own-v0", {"xml_file": "own.xml"}) is None
    assert why_not_trusted("Own-v0", {"xml_file": "other.xml"}) is not None


def test_arguments_of_a_file_go_with_its_own_environment_alone() -> None:
    logged, given = {"gain": 2.0}, {"max_episode_steps": 9}
    assert kwargs_of("log", None, "Own-v0", logged, given) == {**logged, **given}
    assert kwargs_of("log", "Own-v0", "Own-v0", logged, None) == logged
    assert kwargs_of("log", "Other-v0", "Own-v0", logged, given) == given
    with pytest.raises(ValueError, match="log: its environment 'Own-v0' would be .*register an id"):
        kwargs_of("log", "Own-v0", "Own-v0", {"xml_file": "x"}, None)
