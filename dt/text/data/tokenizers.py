"""Tokenisers: text to numbers and back, each kept in the checkpoint as text of its own.

Bytes and words need nothing; byte pairs and files of others are the package `tokenizers`'.
"""

from __future__ import annotations

import collections
import importlib.util
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from dt.files import first_line, read_json, shown
from dt.words import there_are

if TYPE_CHECKING:
    import tokenizers

END = "<|endoftext|>"
# What ends a text in tokenizers of others, the first that there is; and what begins one.
ENDS = (END, "</s>", "<|end_of_text|>", "<|im_end|>", "<eos>", "[SEP]")
BEGINS = ("<s>", "<|begin_of_text|>", "<bos>", "[CLS]")
WORD = re.compile(r"\s?\w+|\s?[^\w\s]|\s")


@dataclass(frozen=True)
class RecordedTokenizer:
    """What a checkpoint holds of a tokenizer."""

    kind: str
    words: tuple[str, ...] = ()
    json: str = ""
    end_token: str = ""


class Tokenizer(ABC):
    """Texts as numbers from 0 to `size` - 1, two of which begin and end a text."""

    size: int
    start: int
    """Stands before every text."""
    end: int
    """Stands after every text; often the same."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Turn a text into numbers, without start and end."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """Turn numbers into text; start and end are nothing."""

    @abstractmethod
    def recorded(self) -> RecordedTokenizer:
        """Give what `tokenizer_from_json` makes it of."""


class Bytes(Tokenizer):
    """UTF-8, a token a byte, and one more that begins and ends texts."""

    size, start, end = 257, 256, 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(token for token in tokens if token < 256).decode(errors="replace")

    def recorded(self) -> RecordedTokenizer:
        return RecordedTokenizer("bytes")


class Words(Tokenizer):
    """Words and signs with the space before them; those that are not known are one token."""

    def __init__(self, words: Sequence[str]):
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(self.words, 2)}
        self.size, self.start, self.end = len(self.words) + 2, 0, 0

    def encode(self, text: str) -> list[int]:
        return [self._numbers.get(word, 1) for word in WORD.findall(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(" ?" if token == 1 else self.words[token - 2] for token in tokens if token)

    def recorded(self) -> RecordedTokenizer:
        return RecordedTokenizer("words", words=self.words)

    @classmethod
    def of(cls, texts: Iterable[str], most: int) -> Words:
        """Take the commonest words of the texts, `most` tokens in all."""
        counts = collections.Counter(word for text in texts for word in WORD.findall(text))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([word for word, _ in ranked[: max(most - 2, 0)]])


class FromPackage(Tokenizer):
    """A tokenizer of the package `tokenizers`: trained here, or read from its files."""

    def __init__(self, of_package: tokenizers.Tokenizer, name: str, end_token: str = ""):
        """
        Raises:
            ValueError: where no token ends a text.
        """
        self._own = of_package
        self.size = of_package.get_vocab_size(with_added_tokens=True)
        self.end_token = end_token or next(
            (token for token in ENDS if of_package.token_to_id(token) is not None), ""
        )
        end = of_package.token_to_id(self.end_token)
        if end is None:
            why = f"no token {end_token!r}" if end_token else f"none of {', '.join(ENDS)}"
            raise ValueError(f"{name}: has {why}; name what ends a text with --text.end-token")
        begins = (of_package.token_to_id(token) for token in BEGINS)
        self.end = end
        self.start = next((token for token in begins if token is not None), end)

    def encode(self, text: str) -> list[int]:
        return self._own.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: Sequence[int]) -> str:
        own = [token for token in tokens if token not in (self.start, self.end)]
        return self._own.decode(own, skip_special_tokens=True)

    def recorded(self) -> RecordedTokenizer:
        return RecordedTokenizer("file", json=self._own.to_str(), end_token=self.end_token)


def make_tokenizer(
    name: str, texts: Sequence[str], vocabulary: int, end_token: str = ""
) -> Tokenizer:
    """Make the tokenizer that `text.tokenizer` names.

    Args:
        texts: which words and byte pairs are learned from.
        vocabulary: most tokens of those.

    Raises:
        ValueError: for a name that is neither a kind nor a file, a file that does not read, and
            where the package `tokenizers` is needed and missing.
    """
    if name == "bytes":
        return Bytes()
    if name == "words":
        return Words.of(texts, vocabulary)
    if name == "bpe":
        return _trained(texts, vocabulary)
    path = Path(name)
    if path.is_dir() or path.is_file():
        return read_tokenizer(path, end_token)
    raise ValueError(
        f"text.tokenizer is {name!r}; {there_are(name, ('bytes', 'words', 'bpe'))}, or give a "
        f"tokenizer.json or a folder with one"
    )


def read_tokenizer(path: Path, end_token: str = "") -> Tokenizer:
    """Read tokenizer.json, or vocab.json with merges.txt, from a file or its folder.

    Raises:
        ValueError: naming the file that is missing or does not read.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        vocab, merges = path / "vocab.json", path / "merges.txt"
        if not (vocab.is_file() and merges.is_file()):
            raise ValueError(
                f"{path}: holds no tokenizer; put tokenizer.json there, or vocab.json and "
                f"merges.txt"
            )
        return FromPackage(_of_merges(vocab, merges), str(path), end_token)
    package = _package(str(file))
    read_json(file)  # whose errors are of one line
    try:
        return FromPackage(package.Tokenizer.from_file(str(file)), str(file), end_token)
    except ValueError:
        raise
    except Exception as error:  # the package raises nothing narrower
        reason = shown(first_line(error))
        raise ValueError(f"{file}: is no tokenizer that tokenizers reads ({reason})") from None


def tokenizer_from_json(values: RecordedTokenizer) -> Tokenizer:
    """Make a tokenizer of what `recorded` gave."""
    if values.kind == "bytes":
        return Bytes()
    if values.kind == "words":
        return Words(values.words)
    package = _package("the run's tokenizer")
    json.loads(values.json)
    own = package.Tokenizer.from_str(values.json)
    return FromPackage(own, "the run's tokenizer", values.end_token)


def _trained(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    package = _package("text.tokenizer bpe")
    own = package.Tokenizer(package.models.BPE())
    own.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = package.decoders.ByteLevel()
    trainer = package.trainers.BpeTrainer(
        vocab_size=max(vocabulary, 257),
        special_tokens=[END],
        initial_alphabet=package.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    own.train_from_iterator(texts, trainer)
    return FromPackage(own, "bpe", END)


def _of_merges(vocab: Path, merges: Path) -> tokenizers.Tokenizer:
    package = _package(str(vocab))
    try:
        model = package.models.BPE.from_file(str(vocab), str(merges))
    except Exception as error:  # the package raises nothing narrower
        reason = shown(first_line(error))
        raise ValueError(f"{vocab}: with {merges.name} is no tokenizer ({reason})") from None
    own = package.Tokenizer(model)
    own.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = package.decoders.ByteLevel()
    return own


def _package(name: str) -> ModuleType:
    if importlib.util.find_spec("tokenizers") is None:
        raise ValueError(
            f"{name} needs tokenizers; pip install 'dt-steer[text]', or take --text.tokenizer "
            f"bytes or words"
        )
    import tokenizers
    import tokenizers.decoders
    import tokenizers.models
    import tokenizers.pre_tokenizers
    import tokenizers.trainers

    return tokenizers
