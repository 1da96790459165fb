"""The verb `optimize`: which input makes the wanted output, against random search and the exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dt.acting.options import ActingOptions
from dt.steering.contexts import Contexts, Demos, contexts_of
from dt.steering.inputs import SPACES, Reach, make_space, steps_needed
from dt.steering.objectives import Objective, action_objective, return_objective, wanted_actions
from dt.steering.optimize_options import OptimizeOptions
from dt.steering.outcome import Ledger, Outcome, as_json, changed, paired_measure
from dt.steering.played import Played, play_with_prefix
from dt.steering.probe import Probe
from dt.steering.problem import ModelProblem, Tokens
from dt.steering.search.drawing import cross_entropy, random
from dt.steering.search.exact import size_of, sweep
from dt.steering.search.found import Best
from dt.steering.search.gradient import gradient
from dt.steering.search.greedy import beam, greedy
from dt.steering.subject import Steered, Subject

DEFAULTS = OptimizeOptions()


@dataclass(frozen=True)
class Scores:
    """Scores of the same contexts, by what stood in them; more is better."""

    unedited: Float[np.ndarray, " B"]
    found: Float[np.ndarray, " B"]
    random: Float[np.ndarray, " B"]  # the best of as many passes as the search took
    exact: Float[np.ndarray, " B"] | None  # the optimum, where all inputs could be tried

    def lift(self, in_bits: bool) -> float:
        """Average what the found input adds, in bits where scores are logarithms in nats."""
        return float((self.found - self.unedited).mean()) / (math.log(2) if in_bits else 1.0)


@dataclass(frozen=True)
class OptimizeFound:
    """What a search found, for each context or for all of them."""

    outcome: Outcome
    what: str  # is scored
    wanted: str
    in_bits: bool  # whether lifts are
    categories: bool  # whether scores are logarithms of probabilities
    method: str
    searched: Scores  # of the contexts that were searched for
    others: Scores  # of contexts that were not: other ones, or the found inputs of their neighbours
    wins: int  # contexts at which the search beat random, of `decided` without ties
    decided: int
    sign_p: float  # of such a win count by chance
    inputs: np.ndarray  # (Q, d)
    edits: Int[np.ndarray, " Q"]
    distances: Float[np.ndarray, " Q"]
    radius: float | None  # that the norm of each soft vector was bounded by
    played: Played | None

    def to_json(self) -> dict[str, Any]:
        """Write all of it as JSON has it, with the lifts and gaps that are read off first."""
        gap = None
        if self.searched.exact is not None:
            gap = float((self.searched.exact - self.searched.found).mean())
        facts = {
            "lift": self.searched.lift(self.in_bits),
            "lift_on_others": self.others.lift(self.in_bits),
            "lift_unit": "bits" if self.in_bits else self.what,
            "gap_to_exact": gap,
        }
        if self.categories:
            for name, scores in (("searched", self.searched), ("others", self.others)):
                means = {
                    key: float(np.exp(getattr(scores, key)).mean())
                    for key in ("unedited", "found", "random")
                }
                facts[f"probability_{name}"] = means
        values = as_json(self)
        return {**values.pop("outcome"), **facts, **values}


def optimize(
    steered: Steered,
    options: OptimizeOptions = DEFAULTS,
    *,
    demos: Demos | None = None,
    on: Contexts | None = None,
    command: str = "dt.steering.optimize",
    **changes: Any,
) -> OptimizeFound:
    """Search for the input that makes the wanted output likeliest, with the weights held fixed.

    Args:
        steered: a run's directory, a Hugging Face folder, or a policy.
        demos: makes the data of "demo:" sources.
        on: contexts in place of windows of the run's data; twice as many as are searched for, where
            one input is to serve all.
        command: what the outcome says it was made by.
        changes: fields of `OptimizeOptions` in place of those of `options`.

    Raises:
        ValueError: for what the model cannot do, and for weights that changed meanwhile.
    """
    options = changed(options, changes)
    if options.objective == "rollouts":
        raise ValueError("--objective rollouts is searched for by `optimize_rollouts`")
    subject = Subject.of(steered, options.checkpoint, ActingOptions(null=options.null))
    ledger, rng = subject.ledger(), np.random.default_rng(options.seed)
    problem, objective, wanted = _problem(subject, options, on, demos, ledger, rng)
    method, best, chance, exact = _search(problem, options, rng)
    searched, others = _scores(problem, best, chance, exact)
    judged = others if options.universal else searched
    where = "on other contexts" if options.universal else "on its contexts"
    measure = paired_measure(
        f"{objective.what}, {where}", judged.found, judged.unedited, "unedited", objective.least
    )
    played = None
    if options.episodes:
        prefix, lucky = (x.candidate.reshape(options.length, -1) for x in (best, chance))
        played = play_with_prefix(subject, prefix, lucky, options, ledger)
    wins, decided, sign_p = sign_test(searched.found, searched.random)
    params, space = subject.policy.params, problem.space
    return OptimizeFound(
        outcome=ledger.close(params, "optimize", measure, options, options.label, command),
        what=objective.what,
        wanted=wanted,
        in_bits=objective.in_bits,
        categories=objective.in_bits and subject.policy.spec.action_dim == 0,
        method=method,
        searched=searched,
        others=others,
        wins=wins,
        decided=decided,
        sign_p=sign_p,
        inputs=best.candidate,
        edits=space.edits(best.candidate),
        distances=space.distances(best.candidate),
        radius=space.radius,
        played=played,
    )


def _problem(
    subject: Subject,
    options: OptimizeOptions,
    on: Contexts | None,
    demos: Demos | None,
    ledger: Ledger,
    rng: np.random.Generator,
) -> tuple[ModelProblem, Objective, str]:
    """Put together contexts, what is wanted in each, and what may change; and what is wanted in
    words."""
    params, spec, null = subject.policy.params, subject.policy.spec, subject.policy.options.null
    reach = Reach(options.length, options.epsilon, options.levels)
    if on is None:
        count = options.contexts * (2 if options.universal else 1)
        least = steps_needed(options.space, reach) if options.space == "actions" else 0
        on = contexts_of(subject, count, options.seed, options.data, demos, least)
    plain = Probe.of(params, spec, null)
    soft = options.length if options.space == "prefix" else 0
    objective, wanted = _objective(options, plain, on, rng)
    held_back = len(on) // 2 if options.universal else 0
    space = make_space(SPACES, options.space, plain, on[: len(on) - held_back], reach)
    problem = ModelProblem(
        plain=plain,
        probe=Probe.of(params, spec, null, soft) if soft else plain,
        contexts=on,
        wanted=objective.wanted,
        score=objective.score,
        space=space.for_all() if options.universal else space,
        ledger=ledger,
        universal=options.universal,
        held_back=held_back,
    )
    return problem, objective, wanted


def _objective(
    options: OptimizeOptions, plain: Probe, contexts: Contexts, rng: np.random.Generator
) -> tuple[Objective, str]:
    if options.objective == "return":
        return return_objective(plain.spec, len(contexts)), "the highest predicted return"
    wanted, words = wanted_actions(plain, contexts, options.want, rng)
    return action_objective(plain.spec, wanted), words


def _search(
    problem: ModelProblem, options: OptimizeOptions, rng: np.random.Generator
) -> tuple[str, Best, Best, Best | None]:
    """Search, draw as many at random, and try everything where that is affordable."""
    space, method = problem.space, options.method
    discrete = isinstance(space, Tokens)
    if method == "auto":
        method = "greedy" if discrete else "gradient"
    problem.spent = 0
    if method == "gradient":
        steps = max(5, options.budget // (3 * options.restarts))
        best = gradient(problem, rng, options.restarts, steps)
    elif method == "sweep":
        best = sweep(problem, options.levels)
    elif method == "greedy":
        best = greedy(problem, rng, options.budget)
    elif method == "beam":
        best = beam(problem, rng, options.budget)
    elif method == "cem":
        best = cross_entropy(problem, rng, options.budget)
    else:
        best = random(problem, rng, options.budget)
    chance = random(problem, rng, problem.spent)
    if method == "sweep":
        return method, best, chance, best
    rows = problem.num_seen if options.universal else problem.count
    few = discrete or space.size <= 2
    affordable = few and size_of(space, options.levels) * rows <= options.exact
    return method, best, chance, sweep(problem, options.levels) if affordable else None


def _scores(
    problem: ModelProblem, best: Best, chance: Best, exact: Best | None
) -> tuple[Scores, Scores]:
    """Score what was found where it was searched for, and where it was not.

    An input of one context is tried on the next one, for what was wanted of its own.
    """
    own = np.arange(problem.num_seen)

    def scored(best: Best, contexts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        rows = best.candidate if len(best.candidate) == len(contexts) else None
        each = np.repeat(best.candidate, len(contexts), axis=0) if rows is None else rows
        return problem.values_on(each, contexts, wanted)

    searched = Scores(
        problem.unedited_on(own, own),
        scored(best, own, own),
        scored(chance, own, own),
        None if exact is None else scored(exact, own, own),
    )
    if problem.universal:
        other = np.arange(problem.num_seen, len(problem.contexts))
        wanted = other
    else:
        other, wanted = np.roll(own, -1), own
    base = problem.unedited_on(other, wanted)
    found = scored(best, other, wanted), scored(chance, other, wanted)
    return searched, Scores(base, *found, None)


def sign_test(a: np.ndarray, b: np.ndarray, tie: float = 1e-6) -> tuple[int, int, float]:
    """Count the pairs at which a is more than b, those without a tie, and a coin's chance of it."""
    from scipy.stats import binomtest

    apart = np.asarray(a) - np.asarray(b)
    wins, decided = int((apart > tie).sum()), int((np.abs(apart) > tie).sum())
    p = float(binomtest(wins, decided, alternative="greater").pvalue) if decided else 1.0
    return wins, decided, p
