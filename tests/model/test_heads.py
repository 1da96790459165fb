"""Is each head's likelihood one, do its samples match it, and does its loss pull the right way?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from gymnasium import spaces
from tiny import make_config, make_dataset

from dt.cli.train import parse_train_args
from dt.config import ModelConfig
from dt.data import TrainingData
from dt.model.decision_transformer import DecisionTransformer
from dt.model.heads import (
    HEADS,
    BinsHead,
    CategoricalReturnHead,
    CategoriesHead,
    DeterministicHead,
    ExpectileReturnHead,
    GaussianHead,
    HeadInputs,
    HeadKind,
    ReturnChoice,
    Sampling,
    head_kind,
    make_number_head,
)
from dt.model.heads.action import ActionHead, could_be_computed
from dt.model.heads.piecewise import Bins
from dt.model.recipe import recipe_of
from dt.spec.spec import PolicySpec

RECIPE = recipe_of(ModelConfig())
N = 4000  # samples
TAKEN = Sampling(deterministic=True)
# Two numbers of four bins; the one repeats an edge inside, the other at both ends.
EDGES = np.array([[-1, -0.5, -0.5, 0.1, 1], [0, 0, 2, 5, 5]], np.float32)
GRID = np.array([np.linspace(-1, 1, 2001), np.linspace(0, 5, 2001)], np.float64)


def rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


def rows(prediction: Any, count: int = N) -> jax.Array:
    vector = jnp.asarray(prediction, jnp.float32)
    return jnp.broadcast_to(vector, (count, len(vector)))


def integrals(density: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Of a density from the grid's first point to each, by the trapezoidal rule."""
    parts = (density[1:] + density[:-1]) / 2 * np.diff(grid)
    return np.concatenate([[0.0], np.cumsum(parts)])


def density_on(log_prob: Callable[..., Any], prediction: Any, grid: np.ndarray) -> np.ndarray:
    values = jnp.asarray(grid, jnp.float32)[:, None]
    return np.exp(np.asarray(log_prob(rows(prediction, len(grid)), values), np.float64))


def assert_drawn_from(samples: Any, grid: np.ndarray, distribution: np.ndarray) -> None:
    """Kolmogorov and Smirnov's test, which errs in one case of a thousand; keys are fixed."""
    ordered = np.sort(np.asarray(samples, np.float64))
    own = np.interp(ordered, grid, distribution)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    largest = max(np.abs(own - steps[1:]).max(), np.abs(own - steps[:-1]).max())
    assert largest < 1.95 / np.sqrt(len(ordered))


@pytest.mark.slow
@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("prediction", [[0.0, 0.0], [0.8, -0.2], [-0.5, 0.6]])
def test_a_gaussian_integrates_to_1_and_is_what_its_samples_are(
    bounded: bool, prediction: list[float]
) -> None:
    """At spreads of 0.2, 0.1 and 1.5; the last, squashed, is highest near both bounds."""
    head = GaussianHead(3, 1, bounded, RECIPE, rngs=rngs())
    raw = np.linspace(-7.2, 7.2, 4001)
    grid = np.tanh(raw).astype(np.float32).astype(np.float64) if bounded else raw
    distribution = integrals(density_on(head.log_prob, prediction, grid), grid)
    assert distribution[-1] == pytest.approx(1.0, abs=2e-3)
    samples = head.act(rows(prediction), jax.random.key(1), Sampling())
    assert_drawn_from(samples[:, 0], grid, distribution)
    assert not bounded or np.abs(samples).max() <= 1.0


def test_a_gaussian_of_a_bounded_and_an_unbounded_number_integrates_to_1() -> None:
    head = GaussianHead(3, 2, np.array([True, False]), RECIPE, rngs=rngs())
    one, other = np.tanh(np.linspace(-5, 5, 301)), np.linspace(-4, 4, 301)
    values = jnp.asarray(np.stack(np.meshgrid(one, other, indexing="ij"), -1), jnp.float32)
    prediction = jnp.broadcast_to(jnp.array([0.3, 1.0, 0.3, 0.4]), (301, 301, 4))
    density = np.exp(np.asarray(head.log_prob(prediction, values), np.float64))
    inner = np.array([integrals(row, other)[-1] for row in density])
    assert integrals(inner, one)[-1] == pytest.approx(1.0, abs=2e-3)


def test_a_gaussian_s_temperature_top_p_and_middle() -> None:
    head = GaussianHead(3, 1, False, RECIPE, rngs=rngs())
    prediction, key = rows([2.0, 0.0]), jax.random.key(3)
    std = np.exp(-1.5)
    spread = head.act(prediction, key, Sampling(temperature=4.0))[:, 0].std()
    assert float(spread) == pytest.approx(2 * std, rel=0.05), "variance times the temperature"
    middle = np.abs(np.asarray(head.act(prediction, key, Sampling(top_p=0.6827)))[:, 0] - 2.0)
    assert 0.98 * std < middle.max() <= 1.001 * std, "68.27 % lie within one deviation"
    assert (middle < 0.5 * std).mean() == pytest.approx(0.3829 / 0.6827, abs=0.03)
    np.testing.assert_allclose(head.act(prediction, key, TAKEN), 2.0)
    squashed = GaussianHead(3, 1, True, RECIPE, rngs=rngs())
    np.testing.assert_allclose(squashed.act(prediction, key, TAKEN), np.tanh(2.0), rtol=1e-6)


def train_gaussian(targets: np.ndarray, target_entropy: float) -> tuple[np.ndarray, np.ndarray]:
    """Entropy and multiplier after each of 1200 updates on targets around 0."""
    head = GaussianHead(1, 1, True, RECIPE, target_entropy=target_entropy, rngs=rngs())
    head.out.kernel[...] = jnp.zeros((1, 2))  # begins with the right mean
    graph, params = nnx.split(head)
    optimizer = optax.adam(1e-2, b2=0.99)
    vectors, actions = jnp.ones((len(targets), 1)), jnp.asarray(targets, jnp.float32)[:, None]

    def mean_loss(params: Any, key: jax.Array) -> jax.Array:
        head = nnx.merge(graph, params)
        return head.loss(head(vectors), actions, key).mean()

    def update(carry: Any, i: Any) -> Any:
        params, state = carry
        gradient = jax.grad(mean_loss)(params, jax.random.fold_in(jax.random.key(0), i))
        updates, state = optimizer.update(gradient, state)
        params = optax.apply_updates(params, updates)
        head = nnx.merge(graph, params)
        entropy = head.entropy(head(vectors), jax.random.fold_in(jax.random.key(1), i)).mean()
        return (params, state), (entropy, jnp.exp(head.log_multiplier[...]))

    @jax.jit
    def train(params: Any) -> Any:
        return jax.lax.scan(update, (params, optimizer.init(params)), jnp.arange(1200))[1]

    entropies, multipliers = train(params)
    return np.asarray(entropies), np.asarray(multipliers)


def test_the_entropy_target_holds_a_spread_that_the_data_would_take_away() -> None:
    """At the target, a deviation s has log(s) = -1 - log(2 pi e) / 2, and the likelihood pulls
    log(s) down by 1 - var / s^2: what lambda must balance. Both swing around that.
    """
    targets = np.random.default_rng(0).uniform(-0.08, 0.08, 64)
    entropies, multipliers = train_gaussian(targets, target_entropy=-1.0)
    balance = 1 - targets.var() / (np.exp(-2) / (2 * np.pi * np.e))
    assert entropies[600:].mean() == pytest.approx(-1.0, abs=0.15)
    assert multipliers[600:].mean() == pytest.approx(balance, abs=0.15), "from 0.1"


def test_the_multiplier_falls_where_the_data_is_spread_enough() -> None:
    targets = np.random.default_rng(0).uniform(-0.9, 0.9, 64)  # entropy log(1.8) = 0.6
    entropies, multipliers = train_gaussian(targets, target_entropy=-1.0)
    assert entropies[600:].mean() > 0.4
    assert multipliers[-1] < 1e-3 and (np.diff(multipliers[600:]) < 0).all()


@pytest.mark.slow
def test_a_gaussian_s_loss_is_the_lagrangian_and_pulls_as_one() -> None:
    head = GaussianHead(3, 2, True, RECIPE, rngs=rngs())
    assert head.target_entropy == -2.0
    prediction, actions, key = (
        rows([0.1, -0.4, 0.3, 0.0], 5),
        jnp.full((5, 2), 0.2),
        jax.random.key(5),
    )
    excess = head.entropy(prediction, key) + 2.0
    expected = -head.log_prob(prediction, actions) - 0.1 * excess
    np.testing.assert_allclose(head.loss(prediction, actions, key), expected, rtol=1e-5)
    gradient = nnx.grad(lambda h: h.loss(prediction, actions, key).sum())(head)
    pull = gradient["log_multiplier"][...]  # lambda (H - target) / A, with the first lambda
    np.testing.assert_allclose(pull, 0.1 * excess.sum() / 2, rtol=1e-5)
    with pytest.raises(ValueError, match="estimated by sampling; give loss a key"):
        head.loss(prediction, actions)


@pytest.mark.slow
def test_bins_integrate_to_1_and_are_what_their_samples_are() -> None:
    head = BinsHead(3, EDGES, RECIPE, rngs=rngs())
    prediction = jnp.array([0.3, 9.0, -1.0, 1.0, 9.0, 0.5, -0.5, 9.0])  # 9: of no width
    middles = (GRID[:, 1:] + GRID[:, :-1]) / 2
    places = np.stack(np.meshgrid(*middles[:, ::5], indexing="ij"), -1)
    logits = jnp.broadcast_to(prediction, (*places.shape[:2], 8))
    density = np.exp(np.asarray(head.log_prob(logits, jnp.asarray(places, jnp.float32)), float))
    assert density.mean() * 2 * 5 == pytest.approx(1.0, abs=2e-3), "over the 2 x 5 rectangle"

    samples = np.asarray(head.act(rows(prediction), jax.random.key(0), Sampling()))
    for number, grid in enumerate(GRID):
        alone = BinsHead(3, EDGES[number : number + 1], RECIPE, rngs=rngs())
        own = prediction.reshape(2, 4)[number]
        # A grid point just inside of each end, as the trapezoid would cut a corner there.
        distribution = integrals(density_on(alone.log_prob, own, grid), grid)
        assert distribution[-1] == pytest.approx(1.0, abs=3e-3)
        assert_drawn_from(samples[:, number], grid, distribution)
    np.testing.assert_allclose(
        head.act(rows(prediction), jax.random.key(0), TAKEN)[0], [0.55, 1.0], rtol=1e-6
    )


def test_a_number_is_in_the_bin_that_begins_at_or_before_it() -> None:
    bins = Bins.of(EDGES)
    values = [[-1, 0], [-0.5, 2], [0.0999, 1.999], [0.1, 4], [1, 5], [-9, -9], [9, 9]]
    index = bins.index(jnp.array(values, jnp.float32))
    assert index.tolist() == [[0, 1], [2, 2], [2, 1], [3, 2], [3, 2], [0, 1], [3, 2]]


def test_outside_of_all_bins_the_density_is_0_and_the_loss_that_of_the_nearest() -> None:
    head = BinsHead(3, EDGES, RECIPE, rngs=rngs())
    prediction = jax.random.normal(jax.random.key(0), (2, 8))
    outside, nearest = jnp.array([[-3.0, 9.0], [1e9, -1e9]]), jnp.array([[-1.0, 5.0], [1.0, 0.0]])
    assert np.isneginf(head.log_prob(prediction, outside)).all()
    assert np.isfinite(head.log_prob(prediction, nearest)).all()
    np.testing.assert_array_equal(head.loss(prediction, outside), head.loss(prediction, nearest))


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([[0, 1], [2, 1]], r"edges of number 1 are \(2, 1\); they must be finite and never fall"),
        ([[0, np.nan, 1]], r"edges of number 0 are \(0, nan, 1\); they must be finite"),
        ([[3, 3, 3]], r"edges of number 0 are \(3, 3, 3\); they must span some width"),
    ],
)
def test_edges_that_bound_nothing_are_refused(edges: list[list[float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Bins.of(np.array(edges, np.float32))


@pytest.mark.slow
def test_several_categories_sum_to_1_and_are_what_their_samples_are() -> None:
    head = CategoriesHead(3, (3, 2, 4), RECIPE, rngs=rngs())
    prediction = jax.random.normal(jax.random.key(0), (9,))
    every = np.array(list(product(range(3), range(2), range(4))), np.int32)
    probabilities = np.exp(np.asarray(head.log_prob(rows(prediction, 24), jnp.asarray(every))))
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    samples = np.asarray(head.act(rows(prediction), jax.random.key(1), Sampling()))
    assert samples.dtype == np.int32
    counts = np.bincount(np.ravel_multi_index(samples.T, (3, 2, 4)), minlength=24)
    chi_square = (np.square(counts - N * probabilities) / (N * probabilities)).sum()
    assert chi_square < 49.7, "23 degrees of freedom: one case of a thousand"
    logits = np.split(np.asarray(prediction), [3, 5])
    likeliest = head.act(prediction, jax.random.key(2), TAKEN)
    assert likeliest.tolist() == [int(part.argmax()) for part in logits]
    only_likeliest = head.act(rows(prediction), jax.random.key(3), Sampling(top_p=0.01))
    assert (np.asarray(only_likeliest) == likeliest).all()


@pytest.mark.slow
def test_one_category_is_the_plain_cross_entropy() -> None:
    head = CategoriesHead(3, (5,), RECIPE, rngs=rngs())
    vectors, targets = jax.random.normal(jax.random.key(0), (4, 2, 3)), jnp.arange(8) % 5
    prediction = head(vectors)
    np.testing.assert_array_equal(prediction, head.out(vectors))
    plain = optax.softmax_cross_entropy_with_integer_labels(prediction, targets.reshape(4, 2))
    np.testing.assert_allclose(head.loss(prediction, targets.reshape(4, 2, 1)), plain, rtol=1e-6)


def test_tanh_stands_where_a_number_is_bounded_and_nowhere_else() -> None:
    head = DeterministicHead(3, 2, np.array([False, True]), RECIPE, rngs=rngs())
    vectors = 10 * jax.random.normal(jax.random.key(0), (6, 3))
    raw = np.asarray(head.out(vectors))
    np.testing.assert_array_equal(head(vectors)[:, 0], raw[:, 0])
    np.testing.assert_allclose(head(vectors)[:, 1], np.tanh(raw[:, 1]), rtol=1e-6)
    error = head.loss(head(vectors), jnp.zeros((6, 2)), None)
    np.testing.assert_allclose(error, np.square(head(vectors)).mean(axis=1), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["deterministic", "gaussian", "bins-uniform", "bins-quantile"])
@pytest.mark.parametrize("bounded", [True, False])
def test_gradients_are_finite_at_and_far_beyond_the_bounds(kind: Any, bounded: bool) -> None:
    edges = np.array([[-1.0, 0.0, 0.0, 1.0]], np.float32)
    head: Any = make_number_head(
        kind, HeadInputs(2, np.array([bounded]), RECIPE, edges), rngs=rngs()
    )
    targets = jnp.array([1.0, -1.0, 1.0 - 6e-8, 1e6, -1e6, 0.0])
    places = jnp.array([-60.0, -1.0, 0.0, 2.0, 60.0])
    size = head.out.out_features
    predictions = jnp.broadcast_to(places[:, None, None], (5, 6, size))
    actions = jnp.broadcast_to(targets[:, None], (5, 6, 1))

    def total(predictions: jax.Array) -> jax.Array:
        return head.loss(predictions, actions, jax.random.key(0)).sum()

    loss, gradient = jax.value_and_grad(total)(predictions)
    assert np.isfinite(loss) and np.isfinite(gradient).all()


@pytest.mark.parametrize("kind", ["deterministic", "gaussian", "bins-uniform", "bins-quantile"])
def test_a_head_keeps_parameters_alone_and_acts_row_by_row(kind: Any) -> None:
    """As the policy does: one key a row, under vmap and jit; the constants are in the graph."""

    def make() -> Any:
        made_for = HeadInputs(3, np.array([True, False]), RECIPE, EDGES)
        return make_number_head(kind, made_for, rngs=rngs())

    graph, params = nnx.split(make())
    assert all(isinstance(leaf, nnx.Param) for _, leaf in nnx.to_flat_state(params))
    assert nnx.split(nnx.eval_shape(make))[0] == graph and hash(graph) == hash(nnx.split(make())[0])
    keys, vectors = jax.random.split(jax.random.key(0), 4), jnp.ones((4, 3))

    @jax.jit
    def act(params: Any) -> Any:
        head = nnx.merge(graph, params)
        return jax.vmap(lambda v, k: head.act(head(v), k, Sampling()))(vectors, keys)

    actions = act(params)
    assert actions.shape == (4, 2) and actions.dtype == jnp.float32
    assert (len(np.unique(actions[:, 0])) == 4) == (kind != "deterministic")
    alone = make()
    np.testing.assert_allclose(
        alone.act(alone(vectors[1]), keys[1], Sampling()), actions[1], rtol=1e-5
    )


def test_bins_without_edges_are_refused() -> None:
    with pytest.raises(ValueError, match="model.head is bins-uniform, but there are no edges of 3"):
        made_for = HeadInputs(4, np.array([True] * 3), RECIPE, EDGES)
        make_number_head("bins-uniform", made_for, rngs=rngs())


def test_a_head_that_is_not_registered_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="model.head is 'gausian'; did you mean 'gaussian'"):
        head_kind("gausian")
    with pytest.raises(ValueError, match="there are deterministic, gaussian, bins-uniform"):
        head_kind("something else")


def test_the_help_lists_the_heads_that_come_with_the_package(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse_train_args(["--help"])
    text = "".join(capsys.readouterr().out.replace("│", "").split())  # broken into lines anywhere
    text = text[text.index("--model.head") :]
    assert all(name in text for name in HEADS)


def test_bins_whose_name_does_not_place_their_edges_are_refused() -> None:
    with pytest.raises(ValueError, match="end its name in -uniform or -quantile"):
        HeadKind("bins", HEADS["bins-uniform"].make, needs_edges=True)


def test_a_head_of_another_package_is_made_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its edges, too, come from the data, as the end of its name says."""
    mine = HeadKind("mine-quantile", HEADS["bins-quantile"].make, needs_edges=True)
    monkeypatch.setitem(HEADS, mine.name, mine)
    data = TrainingData.of(make_dataset([7, 2, 11]))
    specs = [
        PolicySpec.of(data, make_config(head=name, num_bins=4).model)
        for name in ("mine-quantile", "bins-quantile")
    ]
    edges = [spec.action_edges for spec in specs]
    assert edges[0] is not None and edges[1] is not None
    np.testing.assert_array_equal(*edges)
    assert isinstance(DecisionTransformer(specs[0], rngs=rngs()).head.numbers, BinsHead)


RETURN_EDGES = np.linspace(-1.0, 3.0, 5, dtype=np.float32)  # centres -0.5, 0.5, 1.5, 2.5
SHARES = np.array([0.5, 0.3, 0.2, 0.0])


@pytest.fixture
def return_head() -> CategoricalReturnHead:
    return CategoricalReturnHead(3, RETURN_EDGES, RECIPE, rngs=rngs())


def logits() -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(SHARES)


def chosen_shares(head: CategoricalReturnHead, choice: ReturnChoice) -> np.ndarray:
    returns = head.choose(rows(logits()), jax.random.key(0), choice)
    return np.histogram(returns, RETURN_EDGES)[0] / N


@pytest.mark.slow
def test_the_return_s_density_integrates_to_1_and_its_samples_and_quantiles_match(
    return_head: CategoricalReturnHead,
) -> None:
    grid = np.linspace(-1, 3, 4001)
    log_prob = return_head.log_prob(rows(logits(), 4001), jnp.asarray(grid, jnp.float32))
    distribution = integrals(np.exp(np.asarray(log_prob, np.float64)), grid)
    assert distribution[-1] == pytest.approx(1.0, abs=2e-3)
    assert_drawn_from(return_head.sample(rows(logits()), jax.random.key(0)), grid, distribution)
    for level in (0.0, 0.1, 0.5, 0.65, 0.99, 1.0):
        quantile = return_head.quantile(jnp.asarray(logits()), level)
        assert np.interp(float(quantile), grid, distribution) == pytest.approx(level, abs=2e-3)
    assert float(return_head.quantile(jnp.asarray(logits()), 1.0)) == pytest.approx(2.0)
    mean = return_head.mean(jnp.asarray(logits(), jnp.float32))
    assert float(mean) == pytest.approx(-0.5 * 0.5 + 0.5 * 0.3 + 1.5 * 0.2)


def test_without_kappa_a_return_comes_as_in_the_data(return_head: CategoricalReturnHead) -> None:
    np.testing.assert_allclose(chosen_shares(return_head, ReturnChoice()), SHARES, atol=0.025)


def test_kappa_tilts_towards_good_returns_by_its_formula(
    return_head: CategoricalReturnHead,
) -> None:
    tilted = SHARES * np.exp(3.0 * (np.array([-0.5, 0.5, 1.5, 2.5]) + 1) / 4)
    shares = chosen_shares(return_head, ReturnChoice(kappa=3.0))
    np.testing.assert_allclose(shares, tilted / tilted.sum(), atol=0.025)


def test_a_large_kappa_takes_the_largest_return_that_there_is(
    return_head: CategoricalReturnHead,
) -> None:
    assert chosen_shares(return_head, ReturnChoice(kappa=1e4)).tolist() == [0, 0, 1, 0]
    likely = ReturnChoice(kappa=1e4, top_p=0.7)  # the first two hold 0.8
    assert chosen_shares(return_head, likely).tolist() == [0, 1, 0, 0]


def test_the_largest_of_n_samples_is_spread_as_such(return_head: CategoricalReturnHead) -> None:
    shares = chosen_shares(return_head, ReturnChoice(num_samples=4))
    expected = np.diff(np.concatenate([[0], np.cumsum(SHARES) ** 4]))
    np.testing.assert_allclose(shares, expected, atol=0.025)


def test_a_return_s_loss_is_its_bin_s_cross_entropy(return_head: CategoricalReturnHead) -> None:
    prediction = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    losses = return_head.loss(rows(prediction, 3), jnp.array([-0.2, 2.0, 99.0]))
    np.testing.assert_allclose(losses, -np.log([0.5, 0.05, 0.05]), rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kappa": -1.0}, "kappa is -1.0; give 0 or more"),
        ({"num_samples": 0}, "num_samples is 0; draw at least 1"),
        ({"top_p": 0.0}, "top_p is 0.0; give a share above 0"),
    ],
)
def test_a_choice_out_of_range_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ReturnChoice(**values)


@pytest.mark.parametrize("tau", [0.5, 0.9, 0.99])
def test_the_expectile_of_a_known_distribution_is_found(tau: float) -> None:
    """Of evenly spread returns from 0 to 1 it is sqrt(tau) / (sqrt(tau) + sqrt(1 - tau))."""
    head = ExpectileReturnHead(3, tau, RECIPE, rngs=rngs())
    returns = jnp.linspace(0.0, 1.0, 1001)

    def loss(prediction: jax.Array) -> jax.Array:
        return head.loss(jnp.broadcast_to(prediction, (1001, 1)), returns).mean()

    @jax.jit
    def descend(start: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 500, lambda _, p: p - 0.5 * jax.grad(loss)(p), start)

    found = head.choose(descend(jnp.zeros(1)))
    expected = np.sqrt(tau) / (np.sqrt(tau) + np.sqrt(1 - tau))
    assert float(found) == pytest.approx(expected, abs=2e-3)


def test_a_tau_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="tau is 1.0; give a number between 0 and 1"):
        ExpectileReturnHead(3, 1.0, RECIPE, rngs=rngs())


@pytest.mark.slow
def test_smoothed_returns_are_learned_as_normal_distributions() -> None:
    edges = np.linspace(-2.0, 2.0, 41, dtype=np.float32)  # bins of 0.1
    head = CategoricalReturnHead(8, edges, recipe_of(ModelConfig()), 2.0, rngs=nnx.Rngs(0))
    returns = jnp.array([0.03, -1.95, 5.0])
    shares = np.asarray(head.shares(returns))
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-5)
    centres = (edges[1:] + edges[:-1]) / 2
    mean = shares[0] @ centres
    assert mean == pytest.approx(0.03, abs=1e-3)
    assert np.sqrt(shares[0] @ np.square(centres - mean)) == pytest.approx(0.2, rel=0.02)
    assert shares[1].argmax() == 0 and shares[2].argmax() == 39  # the nearest, at the ends
    # The loss is least where the prediction is that distribution.
    logits = jnp.log(head.shares(returns) + 1e-20)
    entropy = -(shares * np.log(shares + 1e-20)).sum(axis=1)
    np.testing.assert_allclose(head.loss(logits, returns), entropy, rtol=1e-4)
    worse = logits + jax.random.normal(jax.random.key(0), logits.shape)
    assert (head.loss(worse, returns) > head.loss(logits, returns)).all()


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("kind", [*HEADS, "categories"])
def test_what_cannot_be_computed_is_no_action(kind: str, deterministic: bool) -> None:
    """A tanh makes 1 of infinity, an argmax 0 of NaN, and both would be played."""
    dataset = make_dataset([7, 2, 11], spaces.Discrete(3) if kind == "categories" else None)
    model = make_config(num_layers=1, **{} if kind == "categories" else {"head": kind}).model
    spec = PolicySpec.of(TrainingData.of(dataset), model, max_episode_steps=40)
    head = ActionHead(spec, RECIPE, rngs=rngs())
    vectors = jnp.ones((4, model.width))
    for part, size in zip(("numbers", "categories"), (2, 1), strict=True):
        prediction = getattr(head(vectors), part)
        if prediction is None:
            continue
        broken = prediction.at[1, 0].set(jnp.nan).at[2, -1].set(jnp.inf).at[3, 0].set(-jnp.inf)
        said = head(vectors)._replace(**{part: broken})
        acted = jax.vmap(lambda p, k: head.act(p, k, Sampling(deterministic)))(
            said, jax.random.split(jax.random.key(0), 4)
        )
        assert getattr(acted, part).shape == (4, size)
        assert could_be_computed(acted).tolist() == [True, False, False, False]
