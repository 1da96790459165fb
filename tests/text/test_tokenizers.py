"""Do texts come back from their tokens, also by the tokenizer that a checkpoint holds?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dt.text.data.tokenizers import Tokenizer, make_tokenizer, read_tokenizer, tokenizer_from_json

TEXTS = ["the film shines", "the plot, they say, drags", "naïve café: 42 %"] * 3


def made(name: str) -> Tokenizer:
    if name == "bpe":
        pytest.importorskip("tokenizers")
    return make_tokenizer(name, TEXTS, 300)


@pytest.mark.parametrize("name", ["bytes", "words", "bpe"])
def test_a_text_comes_back(name: str) -> None:
    tokenizer = made(name)
    kept = tokenizer_from_json(tokenizer.recorded())
    for text in TEXTS:
        tokens = tokenizer.encode(text)
        assert tokenizer.end not in tokens and max(tokens) < tokenizer.size
        assert tokenizer.decode([tokenizer.start, *tokens, tokenizer.end]) == text
        assert kept.encode(text) == tokens and kept.decode(tokens) == text


def test_words_that_are_not_known_are_one_token() -> None:
    tokenizer = made("words")
    assert tokenizer.encode("the zebra shines")[1] == tokenizer.encode("the quagga shines")[1]


def test_a_tokenizer_of_files_is_read(tmp_path: Path) -> None:
    tokenizer = made("bpe")
    own = json.loads(tokenizer.recorded().json)
    (tmp_path / "tokenizer.json").write_text(json.dumps(own))
    assert read_tokenizer(tmp_path).encode(TEXTS[1]) == tokenizer.encode(TEXTS[1])
    apart = tmp_path / "apart"
    apart.mkdir()
    (apart / "vocab.json").write_text(json.dumps(own["model"]["vocab"]))
    merges = ["#version: 0.2", *(" ".join(pair) for pair in own["model"]["merges"])]
    (apart / "merges.txt").write_text("\n".join(merges))
    assert read_tokenizer(apart).encode(TEXTS[1]) == tokenizer.encode(TEXTS[1])


def test_what_is_no_tokenizer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'words'"):
        make_tokenizer("word", TEXTS, 300)
    with pytest.raises(ValueError, match="holds no tokenizer; put tokenizer.json there"):
        read_tokenizer(tmp_path)
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(ValueError, match="is no tokenizer that tokenizers reads"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(made("bpe").recorded().json)
    with pytest.raises(ValueError, match="has no token '</stop>'.*--text.end-token"):
        read_tokenizer(tmp_path, "</stop>")
