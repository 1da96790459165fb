"""Curves: what so many edits bring about, and what each weight of guidance does."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from steered import contexts_for, small
from tiny import make_dataset
from walk import Walk, make_policy

from dt.data import TrainingData
from dt.steering.contexts import draw_contexts
from dt.steering.guiding import guide
from dt.steering.reaching import reach


@pytest.mark.parametrize(
    ("kind", "space"), [("discrete", "actions"), ("numbers", "return"), ("imported", "observation")]
)
def test_more_edits_reach_no_less_and_all_edits_no_less_than_drawn_ones(
    kind: str, space: str
) -> None:
    found = reach(
        small(kind)[0],
        on=contexts_for(kind, 5),
        space=space,
        length=2,
        most=2,
        levels=4,
        budget=16,
        epsilon=2.0,
        tolerance=0.3,
    )
    assert found.edits == (0, 1, 2) and all(x is not None for x in found.exact)
    exact, drawn = (np.array(list(curve)) for curve in (found.exact, found.random))
    assert (np.diff(exact, axis=0) >= 0).all() and (np.diff(drawn, axis=0) >= 0).all()
    assert (exact >= drawn).all() and exact[0].tolist() == drawn[0].tolist()
    if kind == "discrete":
        assert exact[0] == pytest.approx(np.full(5, 0.2))  # it does one of its five actions
        assert found.all_edits == (1, 11, 36)
    assert found.outcome.cost.backward == 0


def test_numbers_among_past_actions_are_no_edits_to_count() -> None:
    with pytest.raises(ValueError, match="are numbers, and edits are counted of tokens"):
        reach(small("numbers")[0], on=contexts_for("numbers", 2), space="actions", length=1)


@pytest.mark.slow
def test_the_dose_curve_begins_at_the_unconditional_policy() -> None:
    if "Walk-v0" not in gymnasium.registry:
        gymnasium.register("Walk-v0", Walk)
    policy = make_policy()
    data = TrainingData.of(make_dataset([7, 2, 11]))
    found = guide(
        policy,
        on=draw_contexts(data, policy.spec, 8),
        env="Walk-v0",
        weights=(0.0, 1.0, 4.0),
        targets=("2", "8"),
        episodes=4,
    )
    doses = {(dose.weight, dose.target): dose for dose in found.doses}
    assert len(doses) == 6
    np.testing.assert_array_equal(doses[0.0, 2.0].returns, doses[0.0, 8.0].returns)
    assert doses[0.0, 2.0].distance == 0.0 < doses[1.0, 2.0].distance < doses[4.0, 2.0].distance
    assert found.outcome.cost.episodes == 24 and found.best in (1.0, 4.0)
    with pytest.raises(ValueError, match="guidance needs a model"):
        guide(small("imported")[0], on=contexts_for("imported", 2), env="Walk-v0")
