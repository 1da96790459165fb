"""Is a batch a pure function of seed, step and row, and does every window keep to its episode?"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dt.data.batches.windows import (
    Action,
    Batch,
    Observation,
    Steps,
    Windows,
    draw_windows,
    gather,
    map_arrays,
)

LENGTHS = [7, 2, 1, 12]
OFFSETS = np.cumsum([0, *LENGTHS])
NUM_STEPS = 4


def draw(seed: int = 0, step: int = 0, rows: range = range(64)) -> Windows:
    return draw_windows(OFFSETS, NUM_STEPS, seed, step, rows)


def make_steps() -> Steps:
    """Every value tells its row: row i holds the observation (i, -i) and the return 100 + i."""
    rows = np.arange(OFFSETS[-1], dtype=np.float32)
    whole, nothing = rows[:, None].astype(np.int32), np.zeros((len(rows), 0), np.float32)
    return Steps(
        Observation(np.stack([rows, -rows], axis=1), nothing.astype(np.int32), whole.astype("u1")),
        Action(rows[:, None] / 10, whole),
        rows + 100,
    )


def rows_covered(windows: Windows) -> list[range]:
    return [range(s, s + n) for s, n in zip(windows.start, windows.length, strict=True)]


def assert_same(left: Windows | Batch, right: Windows | Batch) -> None:
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_seed_and_step_give_the_same_windows() -> None:
    assert_same(draw(seed=3, step=5), draw(seed=3, step=5))


@pytest.mark.parametrize("parts", [2, 4, 64])
def test_rows_asked_for_in_parts_equal_rows_asked_for_at_once(parts: int) -> None:
    size = 64 // parts
    drawn = [draw(rows=range(i * size, (i + 1) * size)) for i in range(parts)]
    joined = Windows(*(np.concatenate(field) for field in list(zip(*drawn, strict=True))[:3]))
    assert_same(joined, draw())


def test_a_longer_batch_begins_with_the_shorter_one() -> None:
    longer = draw(rows=range(100))
    assert_same(Windows(*(field[:64] for field in longer[:3])), draw())


def test_other_seeds_and_other_steps_give_other_windows() -> None:
    drawn = {
        tuple(draw(seed, step).start.tolist()) for seed in range(6) for step in range(6)
    }  # seed 1, step 0 must not be seed 0, step 1 either
    assert len(drawn) == 36


def test_no_window_crosses_the_end_of_its_episode() -> None:
    windows = draw(rows=range(2000))
    first = np.searchsorted(OFFSETS, windows.start, side="right") - 1
    last = np.searchsorted(OFFSETS, windows.start + windows.length - 1, side="right") - 1
    np.testing.assert_array_equal(first, last)


def test_a_window_is_as_long_as_its_episode_allows() -> None:
    windows = draw(rows=range(2000))
    episode = np.searchsorted(OFFSETS, windows.start, side="right") - 1
    np.testing.assert_array_equal(windows.length, np.minimum(LENGTHS, NUM_STEPS)[episode])


def test_every_step_of_every_episode_appears() -> None:
    counts = np.zeros(OFFSETS[-1], int)
    for rows in rows_covered(draw(rows=range(1000))):
        counts[rows] += 1
    assert counts.min() > 20  # of 1000 windows, the last steps of an episode included


def test_every_window_of_a_long_episode_is_drawn() -> None:
    starts = draw(rows=range(1000)).start
    in_last = set(starts[starts >= OFFSETS[3]].tolist())
    assert in_last == set(range(OFFSETS[3], OFFSETS[4] - NUM_STEPS + 1))


def test_episodes_are_drawn_in_proportion_to_their_length() -> None:
    windows = draw(seed=1, rows=range(20_000))
    episode = np.searchsorted(OFFSETS, windows.start, side="right") - 1
    share = np.bincount(episode, minlength=4) / 20_000
    # Four standard deviations of the largest share are 0.014.
    np.testing.assert_allclose(share, np.array(LENGTHS) / sum(LENGTHS), atol=0.014)


def test_a_step_and_its_place_in_the_window_are_drawn_apart() -> None:
    """All pairs (step, place) are equally likely; each names one window of the step's episode."""
    expected = np.zeros(OFFSETS[-1])
    for begin, end in zip(OFFSETS[:-1], OFFSETS[1:], strict=True):
        for step in range(begin, end):
            for place in range(NUM_STEPS):
                expected[max(min(step - place, end - NUM_STEPS), begin)] += 1
    drawn = np.bincount(draw(seed=2, rows=range(20_000)).start, minlength=OFFSETS[-1])
    np.testing.assert_allclose(drawn / 20_000, expected / expected.sum(), atol=0.012)


def test_steps_of_one_row_share_nothing_with_the_next_step_of_the_run() -> None:
    """A batch number and a row are mixed apart: batch s, row r + 1 is not batch s + 1, row r."""
    starts = np.stack([draw(step=step).start for step in range(50)])
    same = (starts[:-1, 1:] == starts[1:, :-1]).mean()
    chance = ((np.bincount(starts.ravel()) / starts.size) ** 2).sum()
    assert abs(same - chance) < 0.03


def test_timesteps_count_from_the_start_of_their_own_episode() -> None:
    windows = draw(rows=range(500))
    batch = gather(make_steps(), windows, NUM_STEPS)
    row = batch.observations.numbers[..., 0].astype(int)
    begin = OFFSETS[np.searchsorted(OFFSETS, row, side="right") - 1]
    np.testing.assert_array_equal(batch.timesteps[batch.mask], (row - begin)[batch.mask])
    later = batch.mask & (row >= OFFSETS[3])
    assert batch.timesteps[later].min() == 0 and batch.timesteps[later].max() == LENGTHS[3] - 1


def test_a_short_episode_is_padded_on_the_right_and_masked() -> None:
    windows = Windows(*(np.array([v], np.int32) for v in (OFFSETS[1], 2, 0)))
    batch = gather(make_steps(), windows, NUM_STEPS)
    assert batch.mask.tolist() == [[True, True, False, False]]
    assert batch.observations.numbers[0, :2, 0].tolist() == [7.0, 8.0]
    assert batch.returns_to_go[0, :2].tolist() == [107.0, 108.0]
    assert batch.timesteps[0, :2].tolist() == [0, 1]


def test_padding_of_the_very_last_episode_stays_inside_the_arrays() -> None:
    offsets = np.array([0, 5, 6])
    steps = map_arrays(lambda field: field[:6], make_steps())
    windows = draw_windows(offsets, NUM_STEPS, 0, 0, range(100))
    batch = gather(steps, windows, NUM_STEPS)  # an index too far raises
    assert batch.mask[windows.start == 5].sum(axis=1).tolist() == [1] * int(
        (windows.start == 5).sum()
    )


def test_all_fields_of_a_batch_are_cut_at_the_same_rows() -> None:
    batch = gather(make_steps(), draw(), NUM_STEPS)
    row = batch.observations.numbers[..., 0]
    np.testing.assert_array_equal(batch.observations.numbers[..., 1], -row)
    np.testing.assert_array_equal(batch.observations.pixels[..., 0], row)
    assert batch.observations.categories.shape == (*row.shape, 0)
    np.testing.assert_allclose(batch.actions.numbers[..., 0] * 10, row, rtol=1e-6)
    np.testing.assert_array_equal(batch.actions.categories[..., 0], row)
    np.testing.assert_array_equal(batch.returns_to_go, row + 100)


def test_gather_gives_the_same_batch_for_numpy_and_jax_arrays() -> None:
    steps, windows = make_steps(), draw()
    expected = gather(steps, windows, NUM_STEPS)
    on_device = gather(jax.tree.map(jnp.asarray, steps), Windows(*windows), NUM_STEPS)
    compiled = jax.jit(gather, static_argnums=2)(steps, windows, NUM_STEPS)
    assert_same(on_device, expected)
    assert_same(compiled, expected)
    types = [[x.dtype for x in jax.tree.leaves(each)] for each in (compiled, expected)]
    assert types[0] == types[1]
