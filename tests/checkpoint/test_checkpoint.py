"""Is a checkpoint whole, verified and enough; is a damaged one found?"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import dt.checkpoint.manifest
from dt.checkpoint.load import find_checkpoint, load_policy
from dt.checkpoint.manifest import best_step, complete_steps, verify, write_manifest
from dt.checkpoint.restore import restore_state
from dt.checkpoint.save import Checkpointer
from dt.checkpoint.state import TrainState
from dt.config import TrainConfig
from dt.spec.spec import PolicySpec
from dt.training.step import Learner


@pytest.fixture
def learner(tiny_spec: PolicySpec, tiny_config: TrainConfig) -> Learner:
    return Learner(tiny_spec, tiny_config)


def at(state: TrainState, step: int) -> TrainState:
    moved = jax.tree.map(lambda x: x + 0.5 * step if x.dtype == np.float32 else x, state)
    return moved._replace(step=state.step + step)


def fail(message: str) -> None:
    raise AssertionError(f"no warning expected: {message}")


def save(run_dir: Path, learner: Learner, steps: dict[int, float | None], keep: int = 9) -> None:
    checkpointer = Checkpointer(run_dir, learner.spec, keep)
    for step, metric in steps.items():
        checkpointer.save(at(learner.init(), step), metric)
    checkpointer.wait()


def equal(a: object, b: object) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def test_a_state_comes_back_bit_for_bit(tmp_path: Path, learner: Learner) -> None:
    save(tmp_path, learner, {3: None, 5: None})
    assert equal(
        restore_state(tmp_path, jax.eval_shape(learner.init), learner.spec, fail),
        at(learner.init(), 5),
    )


def test_what_is_saved_is_the_state_at_the_call(tmp_path: Path, learner: Learner) -> None:
    """The buffers are donated to the next update while the files are being written."""
    checkpointer, state = Checkpointer(tmp_path, learner.spec, 2), learner.init()
    expected = jax.tree.map(np.array, state)
    spoil = jax.jit(lambda s: jax.tree.map(lambda x: x * 0 + 7, s), donate_argnums=0)
    checkpointer.save(state)
    spoil(state)
    checkpointer.wait()
    assert equal(
        restore_state(tmp_path, jax.eval_shape(learner.init), learner.spec, fail), expected
    )


@pytest.mark.slow
def test_the_newest_and_the_best_are_kept(tmp_path: Path, learner: Learner) -> None:
    save(tmp_path, learner, {1: 0.5, 2: 0.1, 3: 0.3, 4: 0.2, 5: None}, keep=2)
    directory = tmp_path / "checkpoints"
    assert complete_steps(directory) == [2, 4, 5]
    assert best_step(directory) == 2
    assert find_checkpoint(tmp_path, "last").name == "5"
    assert find_checkpoint(tmp_path, "best").name == "2"
    assert find_checkpoint(tmp_path, 4).name == "4"
    with pytest.raises(ValueError, match="no checkpoint 3; there are 2, 4, 5"):
        find_checkpoint(tmp_path, 3)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["params", "optimizer", "spec.json", "manifest.json"])
def test_one_flipped_bit_is_found_and_an_older_step_taken(
    tmp_path: Path, learner: Learner, part: str
) -> None:
    save(tmp_path, learner, {1: None, 2: None})
    folder = tmp_path / "checkpoints" / "2"
    files = [folder / part] if (folder / part).is_file() else sorted((folder / part).rglob("*"))
    victim = max((f for f in files if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 4
    victim.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be trusted"):
        verify(folder)
    with pytest.raises(ValueError, match="cannot be trusted"):
        load_policy(tmp_path)
    warnings: list[str] = []
    restored = restore_state(tmp_path, jax.eval_shape(learner.init), learner.spec, warnings.append)
    assert int(restored.step) == 1 and len(warnings) == 1
    load_policy(tmp_path, 1)


@pytest.mark.parametrize("part", ["checkpoints", "checkpoints/1", "checkpoints/1/params"])
def test_links_out_of_the_run_are_refused_and_what_they_lead_to_is_left(
    tmp_path: Path, learner: Learner, part: str
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    save(run, learner, {1: None})
    (run / part).rename(other)
    (run / part).symlink_to(other)
    (other / "7").mkdir()  # as what a killed process leaves
    with pytest.raises(ValueError, match=f"{part}: is a link to {other}, outside of "):
        load_policy(run)
    warnings: list[str] = []
    with pytest.raises(ValueError, match="is a link|no sound checkpoint"):
        restore_state(run, jax.eval_shape(learner.init), learner.spec, warnings.append)
    assert all("is a link" in each for each in warnings)
    if part == "checkpoints":
        with pytest.raises(ValueError, match="is a link"):
            Checkpointer(run, learner.spec, 1)
    assert (other / "7").is_dir()


def test_a_run_that_is_itself_a_link_is_read(tmp_path: Path, learner: Learner) -> None:
    save(tmp_path / "run", learner, {1: None})
    (tmp_path / "link").symlink_to(tmp_path / "run")
    load_policy(tmp_path / "link")


def test_missing_and_added_files_are_found(tmp_path: Path, learner: Learner) -> None:
    save(tmp_path, learner, {1: None})
    folder = tmp_path / "checkpoints" / "1"
    (folder / "params" / "extra").write_text("x")
    with pytest.raises(ValueError, match="extra"):
        verify(folder)
    (folder / "params" / "extra").unlink()
    (folder / "spec.json").unlink()
    with pytest.raises(ValueError, match="spec.json is missing"):
        verify(folder)


def test_an_unfinished_save_does_not_count(
    tmp_path: Path, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, learner, {1: None})
    checkpointer = Checkpointer(tmp_path, learner.spec, 2)
    checkpointer.save(at(learner.init(), 2))

    def full_disk(path: Path, values: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(dt.checkpoint.manifest, "write_json", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpointer.wait()
    monkeypatch.undo()
    assert complete_steps(tmp_path / "checkpoints") == [1]
    assert int(restore_state(tmp_path, jax.eval_shape(learner.init), learner.spec, fail).step) == 1
    save(tmp_path, learner, {2: None})  # the leftovers are no obstacle
    assert int(restore_state(tmp_path, jax.eval_shape(learner.init), learner.spec, fail).step) == 2


def test_a_metric_can_follow_its_checkpoint(tmp_path: Path, learner: Learner) -> None:
    save(tmp_path, learner, {1: None})
    save(tmp_path, learner, {1: 0.25})
    assert best_step(tmp_path / "checkpoints") == 1
    folder = tmp_path / "checkpoints" / "1"
    (folder / ".part-1-manifest.json").write_text("{")  # its process was killed while it wrote
    verify(folder)
    verify(tmp_path / "checkpoints" / "1")


def test_a_loaded_policy_is_copied_but_loading_unpickles_nothing(
    tmp_path: Path, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, learner, {1: None})

    def refuse(*args: object, **kwargs: object) -> object:
        raise AssertionError("a pickle was read")

    with monkeypatch.context() as patch:
        for name in ("load", "loads", "Unpickler"):
            patch.setattr(pickle, name, refuse)
        policy = load_policy(tmp_path)
    policy.reset([2.0])
    again = pickle.loads(pickle.dumps(policy))
    seen = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(again.act(seen), policy.act(seen))
    assert again.spec.dataset == policy.spec.dataset and repr(again) == repr(policy)


def test_no_checkpoint_is_named(tmp_path: Path, learner: Learner) -> None:
    with pytest.raises(ValueError, match="holds no checkpoint"):
        load_policy(tmp_path)
    with pytest.raises(ValueError, match="no sound checkpoint"):
        restore_state(tmp_path, jax.eval_shape(learner.init), learner.spec, fail)
    save(tmp_path, learner, {1: None})
    with pytest.raises(ValueError, match="no checkpoint has a score card"):
        find_checkpoint(tmp_path, "best")


ACT = """
import sys, json, numpy as np, jax
jax.config.update("jax_platforms", "cpu")
import dt
policy = dt.load_policy(sys.argv[1])
policy.reset([1.0, 2.5])
observations = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
acted = []
for row in observations:
    acted.append(policy.act(row).tolist())
    policy.observe(np.array([0.25, 0.5]))
print(json.dumps(acted))
"""


@pytest.mark.slow
def test_a_second_process_acts_the_same_bit_for_bit(tmp_path: Path, learner: Learner) -> None:
    save(tmp_path, learner, {1: None})
    runs = [
        subprocess.run(
            [sys.executable, "-c", ACT, str(tmp_path)], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    policy = load_policy(tmp_path)
    policy.reset([1.0, 2.5])
    observations = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    here = []
    for row in observations:
        here.append(policy.act(row).tolist())
        policy.observe(np.array([0.25, 0.5]))
    assert json.loads(runs[0]) == json.loads(runs[1]) == here


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", 10**9, "layers of width 1000000000, and the checkpoint has"),
        ("width", 1 << 12, "declares "),
        ("num_layers", 10**9, "declares 1000000000 layers of width"),
        ("context_length", 10**12, "a context of 1000000000000 timesteps takes"),
        ("learned_prefix", 10**9, "declares a model of .* numbers, and the checkpoint has"),
    ],
)
def test_a_spec_that_was_changed_and_sealed_again_takes_no_memory(
    tmp_path: Path, learner: Learner, field: str, value: int, message: str
) -> None:
    """The hashes say that nothing was damaged, and not who wrote them."""
    save(tmp_path, learner, {1: None})
    folder = tmp_path / "checkpoints" / "1"
    spec = json.loads((folder / "spec.json").read_text())
    spec["model"][field] = value
    (folder / "spec.json").write_text(json.dumps(spec))
    write_manifest(folder, {"step": 1, "metric": None})
    with pytest.raises(ValueError, match=message) as error:
        load_policy(tmp_path)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
