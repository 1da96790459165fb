"""The verb `ask`: which input brings which return is measured, and kept in the run as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dt.acting.ask_table import ASK_TABLE, AskTable
from dt.acting.options import UNGUIDED, ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.targets import parse_targets
from dt.evaluation.provenance import code_commit, code_versions
from dt.files import write_json
from dt.steering.ask_options import AskOptions
from dt.steering.inverting import measure
from dt.steering.outcome import Measure, Outcome, as_json, changed, paired_measure
from dt.steering.subject import Subject

DEFAULTS = AskOptions()
WANTED = "p5:p95:7"  # returns that the outcome is judged by


@dataclass(frozen=True)
class AskFound:
    """The table of measured inputs, and what was found of it."""

    outcome: Outcome
    table: AskTable
    wanted: np.ndarray  # returns that the outcome is judged by

    def to_json(self) -> dict[str, Any]:
        """Write the outcome; the table is in the run's ask.json."""
        return as_json(self.outcome) | {"wanted": self.wanted.tolist(), "table": ASK_TABLE}


def ask(
    run_dir: str | Path,
    options: AskOptions = DEFAULTS,
    *,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
    command: str = "dt.steering.ask",
    **changes: Any,
) -> AskFound:
    """Measure which input brings which return, and keep the table in the run as ask.json.

    Args:
        on_step: called after every step with the episodes played and the steps made.
        command: what the table says it was made by.
        changes: fields of `AskOptions` in place of those of `options`.

    Raises:
        ValueError: for a run, checkpoint or environment that there is not, a model that cannot be
            guided, a budget that is too small, and weights that changed meanwhile.
        RolloutFault: when an environment breaks.
    """
    options, run_dir = changed(options, changes), Path(run_dir)
    acting = ActingOptions(deterministic=options.deterministic)
    plain = Subject.of(run_dir, options.checkpoint, acting)
    acting.changed({"asked": True}).of_model(plain.policy.spec)  # refuses what cannot be guided
    policy = ReturnConditionedPolicy(
        plain.policy.params, plain.policy.spec, acting, guides_each_row=True
    )
    venue, ledger = plain.venue(options.env), plain.ledger()
    found = measure(policy, venue, options.budget, options.seed, on_step)
    ledger.played(found.num_episodes, found.num_steps, passes_a_step=2)
    measured: dict[str, Any] = {
        "episodes": found.num_episodes,
        "steps": found.num_steps,
        "budget": options.budget,
        "seed": options.seed,
        "weights": ledger.before,
        "versions": code_versions(),
        "commit": code_commit(),
        "command": command,
    }
    table = AskTable.of(
        found.inputs,
        found.achieved,
        found.deviation,
        found.spread,
        found.episodes,
        checkpoint_step=plain.checkpoint_step,
        options=policy.options,
        env_id=venue.env_id,
        env_kwargs=venue.env_kwargs,
        measured=measured,
    )
    wanted = np.asarray(parse_targets([WANTED], policy.spec.dataset))
    judged = measure_of(table, wanted)
    outcome = ledger.close(policy.params, "ask", judged, options, command=command)
    write_json(run_dir / ASK_TABLE, table.to_json())
    return AskFound(outcome, table, wanted)


def measure_of(table: AskTable, wanted: np.ndarray) -> Measure:
    """Measure how near the table's inputs come to wanted returns, beside plain requests.

    Both are expected means: those of the chosen inputs, and those of requests that are the wanted
    returns at weight 1, between the ones that were played.
    """
    plain = (table.guidance[:, :2] == UNGUIDED).all(axis=1)
    order = np.argsort(table.requests[plain])
    requests, achieved = table.requests[plain][order], table.achieved[plain][order]
    bare = np.interp(wanted, requests, achieved)
    span = max(float(np.ptp(wanted)), 1e-9)
    by_table = table.achieved[table.chosen(wanted)]
    return paired_measure(
        "nearness to wanted returns (minus the error as a share of their range)",
        -np.abs(by_table - wanted) / span,
        -np.abs(bare - wanted) / span,
        "plain requests",
    )
