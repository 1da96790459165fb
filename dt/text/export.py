"""A run on text as a folder of Hugging Face's, with its tokenizer and the units of its scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from dt.files import json_text
from dt.text.data.tokenizers import Tokenizer
from dt.text.generator import load_generator
from dt.text.pretrained.write import save_pretrained

UNITS = "dt.json"


def export_text(run_dir: Path, folder: Path, checkpoint: str | int = "last") -> list[str]:
    """Write a run's model as a folder that `from_pretrained` and `train.py text --from` read.

    Where transformers runs it, it is the model that is told no score. The part that the score goes
    through is in a file beside it, and the units of scores in dt.json.

    Returns:
        What was written, in lines.

    Raises:
        ValueError: for a run that is none of text, a model that no such folder can hold, and a
            folder that already holds one.
    """
    generator = load_generator(run_dir, checkpoint)
    spec = generator.spec
    files = {UNITS: json_text({"scale": dataclasses.asdict(spec.scale)})}
    tokenizer = _tokenizer_files(spec.tokenizer)
    ids = {"bos_token_id": spec.tokenizer.start, "eos_token_id": spec.tokenizer.end}
    save_pretrained(generator.params, spec.model, folder, {**files, **tokenizer}, ids)
    lines = [f"wrote {folder}, the model of {generator.name}"]
    if not tokenizer:
        kind = spec.tokenizer.recorded().kind
        lines.append(f"note: its tokenizer ({kind}) has no file of Hugging Face's kind")
    return lines


def _tokenizer_files(tokenizer: Tokenizer) -> dict[str, str]:
    """Write a tokenizer as transformers reads it; nothing for one of our own kinds."""
    recorded = tokenizer.recorded()
    if not recorded.json:
        return {}
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": recorded.end_token}
    return {"tokenizer.json": recorded.json, "tokenizer_config.json": json_text(names)}
