"""The tokenizer that a model of others was trained with."""

from __future__ import annotations

from pathlib import Path

from dt.config.text import PostsConfig
from dt.text.data.tokenizers import FromPackage, Tokenizer, read_tokenizer
from dt.text.pretrained.gguf_tokenizer import read_gguf_tokenizer
from dt.text.pretrained.read import Pretrained


def tokenizer_of(pretrained: Pretrained, config: PostsConfig) -> Tokenizer:
    """Read the tokenizer beside the weights, or the file of one that the configuration names.

    Raises:
        ValueError: in one line, where there is none, or it has tokens that the model has not.
    """
    name = config.tokenizer
    if name in ("bytes", "words"):
        raise ValueError(
            f"text.tokenizer is {name!r}, and the weights of {pretrained.source} know only their "
            f"own; leave it out, or give their tokenizer.json"
        )
    if name != "bpe":  # the default, which stands for the weights' own
        found = read_tokenizer(Path(name), config.end_token)
    elif pretrained.gguf is not None:
        own = read_gguf_tokenizer(pretrained.gguf)
        found = FromPackage(own, str(pretrained.source), config.end_token)
    else:
        found = read_tokenizer(pretrained.source, config.end_token)
    if found.size > pretrained.config.vocabulary:
        raise ValueError(
            f"{pretrained.source}: the tokenizer has {found.size} tokens, and the weights are for "
            f"{pretrained.config.vocabulary}; give the tokenizer.json that they were trained with"
        )
    return found
