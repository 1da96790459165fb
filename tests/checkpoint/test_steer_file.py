"""A steering file: what it holds steers the weights it was made for, and nothing else opens."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from guided import PARAMS, SPEC, played

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.steering import Steering
from dt.checkpoint.export import export_policy
from dt.checkpoint.load import steered
from dt.checkpoint.steer_file import load_steering, save_steering
from dt.evaluation.controls import unconditional
from dt.model.decision_transformer import DecisionTransformer
from dt.model.edits import Edit
from dt.model.params import weights_hash
from dt.model.prefix import with_prefix

POOL = np.array([-1.0, 0.0, 1.0], np.float32)
EDITS = {
    "inputs.return": Edit("shuffle", POOL, first=1, last=4),
    "inputs.observation": Edit("freeze", first=2, features=(0,)),
    "blocks.0.mlp.out": Edit("add", np.full(8, 0.5, np.float32), first=3),
}


def save(path: Path, steering: Steering, weights: str = "") -> Path:
    save_steering(
        path,
        steering,
        weights=weights or weights_hash(PARAMS),
        source="runs/tiny",
        checkpoint_step=6,
        made_by="a test",
        effect={"score": 1.0},
        controls={"random": 0.5},
    )
    return path


def test_a_policy_acts_by_what_a_file_holds_and_by_nothing_as_before(tmp_path: Path) -> None:
    plain = ReturnConditionedPolicy(PARAMS, SPEC)
    by_nothing = steered(plain, save(tmp_path / "no.steer", Steering()))
    np.testing.assert_array_equal(played(by_nothing, [5.0, 9.0]), played(plain, [5.0, 9.0]))
    file = save(tmp_path / "x.steer", Steering(request=7.0, edits=EDITS))
    policy = steered(plain, file)
    header = load_steering(file).header
    assert header.effect == {"score": 1.0} and header.controls == {"random": 0.5}
    acted, before = played(policy, [5.0, 9.0]), played(plain, [7.0, 7.0])
    np.testing.assert_allclose(acted[0], before[0], atol=1e-6)  # the request, before any edit
    assert all((acted[t] != before[t]).any() for t in range(1, len(acted)))
    # An episode's draws are its own: in another row, beside others, they are the same.
    alone = played(policy, [5.0])
    np.testing.assert_allclose(alone[0, 0], acted[0, 0], atol=1e-6)
    assert policy.options.to_card()["steer"] == str(file)
    control = unconditional(policy)  # a card's control: the same weights, unasked and unsteered
    assert control is not None and control.options.null and not control.steering.edits
    out = export_policy(policy, tmp_path / "policy.npz", platforms=("cpu",))
    assert out[0].stat().st_size > 0


@pytest.mark.slow
def test_a_soft_prefix_stands_before_all_tokens(tmp_path: Path) -> None:
    plain = ReturnConditionedPolicy(PARAMS, SPEC)
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    policy = steered(plain, save(tmp_path / "p.steer", Steering(prefix=vectors)))
    assert policy.spec.num_prefix == 3
    params, spec = with_prefix(PARAMS, SPEC, vectors)
    by_hand = ReturnConditionedPolicy(params, spec)
    np.testing.assert_array_equal(played(policy, [5.0]), played(by_hand, [5.0]))


def test_guidance_and_edits_go_together(tmp_path: Path) -> None:
    file = save(
        tmp_path / "g.steer",
        Steering(guidance=(2.0, 2.0, 0.03), edits={"inputs.return": EDITS["inputs.return"]}),
    )
    plain = ReturnConditionedPolicy(PARAMS, SPEC)
    policy = steered(plain, file)
    assert policy.options.guidance == 2.0 and policy.program.is_guided
    assert np.isfinite(played(policy, [5.0])).all()
    with pytest.raises(ValueError, match="g.steer: brings weights of guidance of its own"):
        steered(plain, file, ActingOptions(guidance=3.0))


def test_other_weights_and_models_are_refused_in_one_line(tmp_path: Path) -> None:
    other = nnx.state(DecisionTransformer(SPEC, rngs=nnx.Rngs(4)))
    policy = ReturnConditionedPolicy(other, SPEC)
    with pytest.raises(ValueError, match=r"x\.steer: was made for other weights \(runs/tiny"):
        steered(policy, save(tmp_path / "x.steer", Steering(request=1.0)))
    wrong: list[tuple[Steering, str]] = [
        (Steering(edits={"blocks.0.mpl.out": EDITS["blocks.0.mlp.out"]}), "did you mean"),
        (Steering(edits={"residual.1": Edit("freeze")}), "cannot be frozen"),
        (Steering(prefix=np.zeros((2, 5), np.float32)), "vectors of 5, the model's have 8"),
    ]
    for steering, words in wrong:
        file = save(tmp_path / "y.steer", steering)
        with pytest.raises(ValueError, match=f"y.steer: .*{words}") as error:
            steered(ReturnConditionedPolicy(PARAMS, SPEC), file)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="load_policy"):
        ReturnConditionedPolicy(PARAMS, SPEC, ActingOptions(steer="x.steer"))
    with pytest.raises(ValueError, match=r"must end in \.steer"):
        save(tmp_path / "x.npz", Steering())


def damages(sound: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "cut": sound[: len(sound) // 2],
        "text": b"{}",
        "flipped": bytes(byte ^ (0x55 if 60 < i < 120 else 0) for i, byte in enumerate(sound)),
    }


def test_damaged_files_are_one_line_and_run_nothing(tmp_path: Path) -> None:
    sound = save(tmp_path / "x.steer", Steering(edits=EDITS)).read_bytes()
    file = tmp_path / "bad.steer"
    for name, content in damages(sound).items():
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.steer") as error:
            load_steering(file)
        assert "\n" not in str(error.value), name
    arrays: dict[str, Any] = dict(np.load(tmp_path / "x.steer"))
    cases: list[tuple[dict[str, Any], str]] = [
        ({**arrays, "values_2": np.array([object()])}, "bad.steer"),
        ({**arrays, "values_2": np.full(8, np.nan)}, "NaN"),
        ({name: value for name, value in arrays.items() if name != "values_2"}, "does not hold"),
        ({name: value for name, value in arrays.items() if name != "header"}, "no header"),
    ]
    for changed, words in cases:
        with file.open("wb") as out:
            np.savez(out, **changed)
        with pytest.raises(ValueError, match=words) as error:
            load_steering(file)
        assert "\n" not in str(error.value) and "bad.steer" in str(error.value)
    with pytest.raises(ValueError, match="there is no such steering file"):
        load_steering(tmp_path / "none.steer")


def test_an_edit_that_does_not_fit_is_told_when_it_acts() -> None:
    steering = Steering(edits={"residual.0": Edit("set", np.zeros(5, np.float32))})
    policy = ReturnConditionedPolicy(PARAMS, SPEC, steering=steering)
    policy.reset([5.0])
    with pytest.raises(ValueError, match="broadcast"):
        policy.act(np.zeros((1, 3), np.float32))
    assert dataclasses.is_dataclass(steering) and jax.tree.leaves(steering.edits["residual.0"])
