"""Do parts share no group and no near copy, and do scores become the units they should?"""

from __future__ import annotations

import numpy as np
import pytest

from dt.config.text import PostsConfig
from dt.text.data.confounds import confounds_of
from dt.text.data.copies import first_of_each, like_one_of
from dt.text.data.posts import Posts
from dt.text.data.scores import adjusted_ranks, scaled
from dt.text.data.splits import split_posts

RNG = np.random.default_rng(0)
WORDS = [f"word{number}" for number in range(300)]


def some_texts(count: int) -> list[str]:
    return [" ".join(RNG.choice(WORDS, 12)) for _ in range(count)]


def test_copies_are_alike_without_case_and_signs() -> None:
    assert first_of_each(["One, two!", "three", "one two", "Three."]).tolist() == [0, 1]


def test_near_copies_are_found_and_others_are_not() -> None:
    texts = some_texts(200)
    near = [" ".join([*text.split()[:-1], "other"]) for text in texts[:20]]
    assert like_one_of([*near, *some_texts(50)], texts, 0.7).tolist() == list(range(20))


def test_no_group_and_no_near_copy_is_in_two_parts() -> None:
    texts = some_texts(300)
    texts += [f"{text} again" for text in texts[:100]]
    groups = tuple(f"author {number % 40}" for number in range(400))
    posts = Posts("here", tuple(texts), RNG.normal(size=400), groups=groups)
    split = split_posts(posts, PostsConfig(group="author"))
    parts = [split.generator, split.judge, split.test]
    assert all(len(part) > 20 for part in parts)
    for one in range(3):
        for other in range(one):
            shared = {groups[i] for i in parts[one]} & {groups[i] for i in parts[other]}
            assert not shared
            like = like_one_of(*([texts[i] for i in parts[n]] for n in (one, other)), 0.7)
            assert not len(like)
    assert any("near copies" in note for note in split.notes)
    again = split_posts(posts, PostsConfig(group="author"))
    np.testing.assert_array_equal(split.test, again.test)


def test_one_group_only_is_refused() -> None:
    posts = Posts("here", tuple(some_texts(50)), RNG.normal(size=50), groups=("x",) * 50)
    with pytest.raises(ValueError, match="--text.group 'author' puts all posts into 1 group"):
        split_posts(posts, PostsConfig(group="author"))


def test_too_few_posts_are_refused() -> None:
    posts = Posts("here", tuple(some_texts(12)), RNG.normal(size=12))
    with pytest.raises(ValueError, match=r"here: \d post\(s\) are left for the"):
        split_posts(posts, PostsConfig())


@pytest.mark.parametrize("transform", ["raw", "log1p", "quantile"])
def test_scores_have_mean_0_and_deviation_1_and_come_back(transform: str) -> None:
    scores = RNG.lognormal(2, 1, 500)
    posts = Posts("here", tuple(some_texts(500)), scores)
    scale, values = scaled(posts, transform)  # type: ignore[arg-type]
    told = scale.to_model(values)
    assert abs(told.mean()) < 1e-9 and abs(told.std() - 1) < 1e-9
    np.testing.assert_allclose(scale.raw(values), scores, rtol=1e-6)


def test_tied_scores_share_the_middle_of_their_quantiles() -> None:
    posts = Posts("here", tuple(some_texts(200)), np.repeat([1.0, 2.0], 100))
    _, values = scaled(posts, "quantile")
    assert values[0] == pytest.approx(0.25, abs=0.02)
    assert values[-1] == pytest.approx(0.75, abs=0.02)


def test_scores_that_are_all_alike_are_refused() -> None:
    posts = Posts("here", ("a", "b"), np.array([3.0, 3.0]))
    with pytest.raises(ValueError, match="every post scores 3.*--text.score"):
        scaled(posts, "raw")


def test_an_adjusted_rank_knows_neither_thread_nor_time() -> None:
    quality = RNG.normal(size=2000)
    busy, times = RNG.integers(0, 40, 2000), RNG.uniform(size=2000)
    scores = 5 * busy - 6 * times + quality  # a thread's size, an early hour, and the text
    groups = tuple(map(str, busy))
    posts = Posts("here", tuple("x" for _ in busy), scores, groups=groups, times=times)
    adjusted = adjusted_ranks(posts)
    assert abs(np.corrcoef(adjusted, busy)[0, 1]) < 0.05
    assert abs(np.corrcoef(adjusted, times)[0, 1]) < 0.05
    assert np.corrcoef(adjusted, quality)[0, 1] > 0.8 > np.corrcoef(scores, quality)[0, 1]


def test_what_a_score_is_confounded_with_is_said() -> None:
    lengths = RNG.integers(5, 50, 400)
    groups = tuple(str(number % 4) for number in range(400))
    scores = lengths + 20.0 * (np.arange(400) % 4)
    texts = tuple("x" * length for length in lengths)
    posts = Posts("here", texts, scores, groups=groups, times=RNG.uniform(size=400))
    found = confounds_of(posts, scores)
    assert found.length > 0.3 and found.group is not None and found.group > 0.3
    assert found.time is not None and abs(found.time) < 0.2
    assert len(found.warnings) == 2
    shuffled = confounds_of(posts, RNG.permutation(scores))
    assert abs(shuffled.length) < 0.15 and shuffled.group is not None and shuffled.group < 0.05
