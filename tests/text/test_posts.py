"""Are posts read from every kind of file, and is what cannot be used refused in one line?"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from dt.config.text import PostsConfig
from dt.text.data.posts import Posts
from dt.text.data.read import holds_pairs, read_pairs, read_posts

ROWS = [
    {"text": "a fine day, with rain", "score": 3, "thread": "x", "at": 10},
    {"text": 'he said "no"', "score": -1.5, "thread": "y", "at": 20},
]


def written(folder: Path, kind: str) -> Path:
    path = folder / f"posts.{kind}"
    lines = "\n".join(map(json.dumps, ROWS))
    if kind == "csv":
        path.write_text(
            'text,score,thread,at\n"a fine day, with rain",3,x,10\n"he said ""no""",-1.5,y,20\n'
        )
    elif kind == "jsonl":
        path.write_text(lines + "\n\n")
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "jsonl.gz", "parquet"])
def test_every_kind_of_file_says_the_same(kind: str, tmp_path: Path) -> None:
    config = PostsConfig(group="thread", time="at")
    posts = read_posts(config, str(written(tmp_path, kind)))
    assert posts.texts == ("a fine day, with rain", 'he said "no"')
    np.testing.assert_array_equal(posts.scores, [3, -1.5])
    assert posts.groups == ("x", "y")
    np.testing.assert_array_equal(posts.times, [10, 20])


def test_rows_are_chosen_by_a_column(tmp_path: Path) -> None:
    posts = read_posts(PostsConfig(only="thread=y"), str(written(tmp_path, "csv")))
    assert posts.texts == ('he said "no"',)
    assert posts.notes == ("1 of 2 rows have thread=y",)


@pytest.mark.parametrize(
    ("content", "config", "told"),
    [
        ("text,votes\nhi,3\n", PostsConfig(), r"no column 'score' for --text.score; .*votes"),
        ("text,score\nhi,many\n", PostsConfig(), r"row 1: --text.score 'score' is 'many', which"),
        ("text,score\nhi,nan\n", PostsConfig(), "row 1: --text.score 'score' is 'nan', which is"),
        ("text,score\nhi,\n", PostsConfig(), "row 1: --text.score 'score' is empty"),
        ("text,score\nhi,1\n  ,2\n", PostsConfig(), "post 2 has no text; fill it or remove"),
        ("text,score\n", PostsConfig(), "holds no posts"),
        ("text,score\nhi,1\n", PostsConfig(only="text=ho"), "no row has text=ho; .*hi"),
        ("text,score\nhi,1,2\n", PostsConfig(), "line 2 has 3 cells"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    content: str, config: PostsConfig, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "posts.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=told) as refused:
        read_posts(config, str(path))
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("posts.jsonl", b"{oops\n", "line 1 is no JSON"),
        ("posts.jsonl", b'["a"]\n', "item 1 is no object"),
        ("posts.json", b"\xff\xfe", "cannot be read"),
        ("posts.jsonl.gz", b"\x1f\x8bnot really", "cannot be read"),
        ("posts.txt", b"hello", "no file of posts that is known by its name"),
    ],
)
def test_a_damaged_file_is_one_line(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=told) as refused:
        read_posts(PostsConfig(), str(path))
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_chosen_and_rejected_share_the_turns_in_front(tmp_path: Path) -> None:
    before = "\n\nHuman: why?\n\nAssistant:"
    row = {"chosen": before + " Because.", "rejected": before + " Begone."}
    alike = {"chosen": before + " Oh.", "rejected": before + " Oh."}
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, [row, alike])))
    assert holds_pairs(str(path))
    pairs = read_pairs(str(path))
    assert (pairs.prompts, pairs.chosen, pairs.rejected) == (
        (before,),
        (" Because.",),
        (" Begone.",),
    )
    assert pairs.notes == ("1 pairs whose answers are alike are left out",)


def test_pairs_of_shp_are_ordered_by_their_labels(tmp_path: Path) -> None:
    row = {
        "post_id": "p1",
        "history": "How?",
        "human_ref_A": "so",
        "human_ref_B": "thus",
        "labels": 0,
        "score_ratio": 4.0,
        "created_at_utc_A": 100,
        "created_at_utc_B": 130,
    }
    path = tmp_path / "shp.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "labels": 1}))
    pairs = read_pairs(str(path))
    assert pairs.chosen == ("thus", "so") and pairs.rejected == ("so", "thus")
    np.testing.assert_array_equal(pairs.ratios, [4, 4])
    np.testing.assert_array_equal(pairs.later, [30, -30])  # the chosen one's time less the other's
    assert pairs.groups == ("p1", "p1")


def test_scores_must_be_finite() -> None:
    with pytest.raises(ValueError, match="score of post 2 is inf"):
        Posts("here", ("a", "b"), np.array([0, np.inf]))
