"""Do edits reach behaviour, does patching restore all of it, and is what is kept usable?"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from guided import DATA
from walk import Walk, make_policy

from dt import steering
from dt.checkpoint.load import steered
from dt.data import TrainingData
from dt.model.edits import Edit
from dt.report.explain_plots import plot_intervened, plot_patched
from dt.report.explain_table import intervene_sheet, patch_sheet
from dt.steering.contexts import Contexts, draw_contexts
from dt.steering.edit_making import make_edit
from dt.steering.intervene_options import InterveneOptions
from dt.steering.subject import Subject

policy = functools.cache(make_policy)
SPEC = make_policy().spec


@functools.cache
def contexts() -> Contexts:
    return draw_contexts(TrainingData.of(DATA), SPEC, 6)


@pytest.fixture
def walk_registered() -> str:
    if "Walk-v0" not in gymnasium.registry:
        gymnasium.register("Walk-v0", Walk)
    return "Walk-v0"


def test_patching_everything_restores_all_and_touches_nothing_before(tmp_path: Path) -> None:
    found = steering.patch(policy(), at="inputs.return", how="set", value=(50.0,), on=contexts())
    assert found.everything == pytest.approx(1.0, abs=1e-5)
    assert found.untouched_before
    assert found.residual.shape == (2, 3) and found.heads.shape == (1, 3, 2)
    assert found.residual[1, 0] == pytest.approx(1.0, abs=1e-4)  # what acts is read off it
    assert found.outcome.weights.before == found.outcome.weights.after
    assert json.loads(json.dumps(found.to_json()))["everything"] == found.everything
    plot_patched(found, tmp_path / "x.png")
    assert patch_sheet(found).rows and (tmp_path / "x.png").stat().st_size > 5_000


@pytest.mark.slow
def test_an_edit_changes_behaviour_from_its_step_on_and_is_kept(
    walk_registered: str, tmp_path: Path
) -> None:
    file = tmp_path / "push.steer"
    found = steering.intervene(
        policy(),
        at="blocks.0.mlp.out",
        how="add",
        value=tuple(np.linspace(-3.0, 3.0, 8).tolist()),
        first=4,
        episodes=3,
        targets=("p10", "p90"),
        env=walk_registered,
        keep=str(file),
    )
    assert found.empty_is_identical
    assert found.control_name == "a random vector as long"
    assert len(found.rows) == 2
    changed = np.concatenate([row.edited != row.intact for row in found.rows])
    assert changed.any()
    acting = steered(policy(), file)
    assert set(acting.steering.edits) == {"blocks.0.mlp.out"}
    plot_intervened(found, tmp_path / "x.png")
    assert len(intervene_sheet(found).rows) == 2
    assert json.loads(json.dumps(found.to_json()))["point"] == "blocks.0.mlp.out"


def edit(**words: object) -> Edit:
    options = InterveneOptions(**words)  # type: ignore[arg-type]
    return make_edit(Subject.of(policy()), options, contexts())


def test_words_become_edits_in_the_model_s_units() -> None:
    asked = edit(at="inputs.return", how="set", value=(5.0,))
    assert asked.values == pytest.approx(float(SPEC.return_normalizer(np.float32(5.0))))
    seen = edit(at="inputs.observation", how="set", value=(3.0,), features=(1,))
    units = SPEC.observation_normalizer
    assert seen.values is not None
    assert float(seen.values[1]) == pytest.approx((3.0 - units.mean[1]) / units.scale[1], abs=1e-5)
    pool = edit(at="residual.1", how="shuffle", token="observation")
    assert pool.values is not None
    assert pool.places == (1,)
    assert pool.values.shape == (int(np.asarray(contexts().batch.mask).sum()), 8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"at": "inputs.retrun"}, "did you mean 'inputs.return'"),
        ({"at": "residual.1", "how": "shuffle"}, "say which with --token"),
        ({"at": "inputs.return", "how": "set", "value": (1.0, 2.0)}, "a return is one"),
        ({"at": "inputs.return", "how": "set"}, "what to set or add"),
        ({"at": "inputs.return", "how": "null"}, "tokens.return"),
        ({"how": "freeze", "first": 3, "last": 2}, "at least first"),
    ],
)
def test_what_cannot_be_done_is_one_line(words: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        edit(**words)
    assert "\n" not in str(error.value)
