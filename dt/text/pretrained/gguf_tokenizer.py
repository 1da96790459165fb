"""The tokenizer within a GGUF file, as one of the package `tokenizers`."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from dt.files import shown
from dt.text.pretrained.gguf_file import GgufFile

if TYPE_CHECKING:
    import tokenizers

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# How a text is cut before byte pairs are joined: patterns, one after the other.
_CUTS = {
    "default": (_GPT2,),
    "gpt-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "llama-bpe": (_LLAMA3,),
    "llama3": (_LLAMA3,),
}
_CONTROL = (3, 4)  # kinds of tokens that are no text: control, and added by a user


def read_gguf_tokenizer(file: GgufFile) -> tokenizers.Tokenizer:
    """Make the tokenizer of byte pairs that the file holds.

    Raises:
        ValueError: in one line, where it holds none, or one of another kind.
    """
    kind = file.values.get("tokenizer.ggml.model")
    cut = file.values.get("tokenizer.ggml.pre", "default")
    for name, value, known in (
        ("tokenizer.ggml.model", kind, ("gpt2",)),
        ("tokenizer.ggml.pre", cut, tuple(_CUTS)),
    ):
        if not isinstance(value, str) or value not in known:
            raise ValueError(
                f"{file.path}: {name} is {shown(repr(value)[:80])}, and only {', '.join(known)} "
                f"can be read; give the tokenizer.json with --text.tokenizer FILE"
            )
    if importlib.util.find_spec("tokenizers") is None:
        raise ValueError(f"{file.path}: needs the package tokenizers; pip install 'dt-steer[gguf]'")
    import tokenizers

    tokens, kinds = _strings(file, "tokens"), file.values.get("tokenizer.ggml.token_type")
    numbers = {token: number for number, token in enumerate(tokens)}
    merges = []
    for line in _strings(file, "merges"):
        first, _, second = line.partition(" ")
        if not {first, second, first + second} <= numbers.keys():
            raise ValueError(
                f"{file.path}: tokenizer.ggml.merges has {shown(line[:80])!r}, whose parts are no "
                f"tokens; fetch the file anew"
            )
        merges.append((first, second))
    # In the file's order, as added tokens are looked for before a text is cut.
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=numbers, merges=merges))
    cuts = [
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
        for pattern in _CUTS[str(cut)]
    ]
    as_bytes = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([*cuts, as_bytes])
    made.decoder = tokenizers.decoders.ByteLevel()
    if kinds is not None and len(kinds) == len(tokens):
        controls = [t for t, kind in zip(tokens, kinds, strict=True) if int(kind) in _CONTROL]
        made.add_special_tokens(controls)
    return made


def _strings(file: GgufFile, name: str) -> list[str]:
    values = file.values.get(f"tokenizer.ggml.{name}")
    if not isinstance(values, list) or not values:
        raise ValueError(
            f"{file.path}: has no tokenizer.ggml.{name}; give the tokenizer.json with "
            f"--text.tokenizer FILE"
        )
    return values
