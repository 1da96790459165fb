"""Episodes played with a soft prefix before all tokens, beside the same seeds without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.targets import parse_targets
from dt.evaluation.evaluate import episode_seeds, play
from dt.model.prefix import with_prefix
from dt.steering.outcome import Ledger
from dt.steering.subject import Subject

if TYPE_CHECKING:
    from dt.steering.optimize_options import OptimizeOptions


@dataclass(frozen=True)
class Played:
    """Returns of the same seeds, with the found prefix, with a random one, and without any."""

    request: float  # the return that is asked for; ignored where the null token stands for it
    wanted: float | None  # return that the input was to bring about
    steered: Float[np.ndarray, " E"]
    random: Float[np.ndarray, " E"]  # with the best random prefix of as many passes
    plain: Float[np.ndarray, " E"]


def play_with_prefix(
    subject: Subject,
    found: Float[np.ndarray, "n D"],
    chance: Float[np.ndarray, "n D"],
    options: OptimizeOptions,
    ledger: Ledger,
) -> Played:
    """Play episodes with either prefix before all tokens, and the same without."""
    plain = subject.policy
    params, spec = with_prefix(plain.params, plain.spec, found)
    steered = ReturnConditionedPolicy(params, spec, plain.options)
    lucky = steered.another(with_prefix(plain.params, plain.spec, chance)[0])
    request = parse_targets([options.request], spec.dataset, "--request ")[0]
    word = options.want.removeprefix("asked:")
    wanted = float(word) if options.want.startswith("asked:") else None
    venue, seeds = subject.venue(options.env), episode_seeds(options.seed, options.episodes)
    asked, returns = np.full(options.episodes, request), []
    for policy in (steered, lucky, plain):
        rollouts, _ = play(policy, asked, seeds, venue, lambda done, steps: None)
        ledger.played(len(seeds), int(rollouts.lengths.sum()))
        returns.append(rollouts.returns)
    return Played(request, wanted, *returns)
