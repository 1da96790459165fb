"""Draw damaged files of what the package itself writes: runs, cards, maps, stores, journals."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
from cards import make_card
from damage import damaged, odd_arrays, odd_json
from damaged_logs import minari_folder, npz_bytes
from flax import nnx
from hypothesis import strategies as st
from tiny import make_config, make_dataset

from dt.acting.ask_table import AskTable, Inputs
from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.request_map import RequestMap
from dt.checkpoint.hugging_face.folder import save_hf
from dt.checkpoint.save import Checkpointer
from dt.collect.journal import Journal
from dt.config import ModelConfig, TrainConfig
from dt.data import TrainingData
from dt.data.store.store import build
from dt.data.transforms import Transforms
from dt.files import json_text
from dt.model.decision_transformer import DecisionTransformer
from dt.spec.spec import PolicySpec
from dt.training.run_directory import write_config
from dt.training.step import Learner

Files: TypeAlias = dict[str, bytes]


def files_of(write: Callable[[Path], object]) -> Files:
    """Collect what is written into a folder."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "made"
        write(folder)
        return {
            str(p.relative_to(folder)): p.read_bytes()
            for p in sorted(folder.rglob("*"))
            if p.is_file() and p.name != "lock"
        }


def _config() -> TrainConfig:
    return make_config(num_layers=1)


def _write_run(folder: Path) -> None:
    config = _config()
    spec = PolicySpec.of(TrainingData.of(make_dataset([7, 2, 11])), config.model, 40)
    checkpointer = Checkpointer(folder, spec, 1)
    checkpointer.save(Learner(spec, config).init(), 0.5)
    checkpointer.wait()
    write_config(folder, "default", config)


@cache
def run_files() -> Files:
    return files_of(_write_run)


STEP = "checkpoints/0"


def sealed(files: Files, manifest: Callable[[dict[str, Any]], None] = lambda m: None) -> Files:
    """Write the manifest anew, as whoever changes a file on purpose would."""
    values = json.loads(files[f"{STEP}/manifest.json"])
    for name in values["files"]:
        values["files"][name] = hashlib.sha256(files[f"{STEP}/{name}"]).hexdigest()
    del values["sha256"]
    manifest(values)
    values["sha256"] = hashlib.sha256(json_text(values).encode()).hexdigest()
    return {**files, f"{STEP}/manifest.json": json_text(values).encode()}


@st.composite
def specs(draw: st.DrawFn) -> Files:
    files, name = dict(run_files()), f"{STEP}/spec.json"
    how = draw(st.sampled_from(("json", "json", "json", "bytes", "manifest", "sealed manifest")))
    if how == "bytes":
        files[name] = draw(damaged(files[name]))
        return sealed(files)
    if how == "json":
        files[name] = draw(odd_json(json.loads(files[name]))).encode("utf-8", "surrogatepass")
        return sealed(files)
    if how == "sealed manifest":
        key = draw(st.sampled_from(("step", "metric", "files")))
        odd = draw(st.sampled_from((None, -1, "x", [], {}, [1], {"x": 1}, {"": ""}, 2**70, 1e400)))
        return sealed(files, lambda values: values.update({key: odd}))
    name = f"{STEP}/manifest.json"
    said = draw(odd_json(json.loads(files[name]))).encode("utf-8", "surrogatepass")
    return {**files, name: draw(damaged(files[name])) if draw(st.booleans()) else said}


@st.composite
def weights(draw: st.DrawFn) -> Files:
    """Damage the arrays of a checkpoint, and seal them."""
    files = dict(run_files())
    name = draw(st.sampled_from([n for n in files if n.startswith(f"{STEP}/params")]))
    files[name] = draw(damaged(files[name]))
    return sealed(files)


@st.composite
def configs(draw: st.DrawFn) -> Files:
    files, name = dict(run_files()), "config.json"
    values = json.loads(files[name])
    said = draw(odd_json(values)).encode("utf-8", "surrogatepass")
    files[name] = draw(damaged(files[name])) if draw(st.integers(0, 3)) == 0 else said
    return files


def odd_file(values: Any) -> st.SearchStrategy[Files]:
    """Damage the values of a JSON file, or its bytes."""
    by_value = odd_json(values).map(lambda text: text.encode("utf-8", "surrogatepass"))
    return st.one_of(by_value, damaged(json.dumps(values).encode())).map(lambda b: {"log": b})


def _request_map() -> dict[str, Any]:
    return RequestMap.fit(
        np.array([1.0, 2.0, 3.0]),
        np.array([1.0, 1.5, 2.0]),
        checkpoint_step=7,
        options=ActingOptions(),
        env_id="A-v0",
        env_kwargs={},
        measured={"episodes": 3},
    ).to_json()


def _ask_table() -> dict[str, Any]:
    count = 3
    return AskTable.of(
        Inputs(np.arange(count), np.ones((count, 3))),
        achieved=np.arange(float(count)),
        deviation=np.ones(count),
        spread=np.ones(count),
        episodes=np.full(count, 7),
        checkpoint_step=7,
        options=ActingOptions(),
        env_id="A-v0",
        env_kwargs={},
        measured={"budget": 21},
    ).to_json()


@cache
def store_files() -> Files:
    def write(folder: Path) -> None:
        build(folder, make_dataset([7, 2, 11]), Transforms(), lambda steps: None)

    return files_of(write)


@st.composite
def stores(draw: st.DrawFn) -> Files:
    files = dict(store_files())
    name = draw(st.sampled_from(("store.json", "store.json", *files)))
    if name.endswith("json") and draw(st.integers(0, 3)):
        files[name] = draw(odd_json(json.loads(files[name]))).encode("utf-8", "surrogatepass")
    else:
        files[name] = draw(damaged(files[name]))
    return files


@cache
def journal_bytes() -> bytes:
    def write(folder: Path) -> None:
        folder.mkdir()
        with Journal(folder / "log") as journal:
            for number, episode in enumerate(make_dataset([7, 2, 11])):
                journal.append(number, episode)

    return files_of(write)["log"]


def resealed(log: bytes, place: int, content: bytes) -> bytes:
    """Put other content into the record that begins at a place, with its checksum."""
    header = struct.Struct("<QQI")
    number, size, _ = header.unpack_from(log, place)
    new = header.pack(number, len(content), zlib.crc32(content, number & 0xFFFFFFFF))
    return log[:place] + new + content + log[place + header.size + size :]


@st.composite
def journals(draw: st.DrawFn) -> Files:
    whole = journal_bytes()
    if draw(st.booleans()):
        return {"log": draw(damaged(whole))}
    size = int.from_bytes(whole[8:16], "little")
    return {"log": resealed(whole, 0, draw(damaged(whole[20 : 20 + size])))}


@cache
def hugging_face_files() -> Files:
    model = ModelConfig(
        recipe="chen2021", context_length=3, num_layers=1, width=8, return_dropout=0.0
    )
    spec = PolicySpec.of(TrainingData.of(make_dataset([7, 2, 11])), model, 40)
    state = nnx.state(DecisionTransformer(spec, rngs=nnx.Rngs(0)))
    return files_of(lambda folder: save_hf(ReturnConditionedPolicy(state, spec), folder))


@st.composite
def hugging_face(draw: st.DrawFn) -> Files:
    files = dict(hugging_face_files())
    name = draw(st.sampled_from(list(files)))
    if name.endswith("json"):
        files[name] = draw(odd_json(json.loads(files[name]))).encode("utf-8", "surrogatepass")
        if name == "config.json":
            files[name] += b' "model_type"' if b'"model_type"' not in files[name] else b""
    else:
        files[name] = draw(damaged(files[name]))
        values = json.loads(files["dt.json"])
        files["dt.json"] = json.dumps({**values, "sha256": None}).encode()
    return files


PLAYER: Mapping[str, Any] = {
    "w0": np.ones((4, 3), np.float32),
    "b0": np.zeros(4, np.float32),
    "w1": np.ones((2, 4), np.float32),
    "b1": np.zeros(2, np.float32),
    "log_std": np.zeros(2, np.float32),
    "kind": np.array("gauss"),
    "activation": np.array("tanh"),
    "obs_mean": np.zeros(3),
    "obs_var": np.ones(3),
    "clip_obs": np.array(10.0),
    "eps": np.array(1e-8),
}


@st.composite
def players(draw: st.DrawFn) -> Files:
    if draw(st.integers(0, 3)) == 0:
        return {"log": draw(damaged(npz_bytes(dict(PLAYER))))}
    return {"log": npz_bytes(draw(odd_arrays(dict(PLAYER), ("timefeature", "w2"))))}


PLAYER_FILES = {"log": npz_bytes(dict(PLAYER))}

KINDS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "spec": ("spec", specs()),
    "weights": ("run", weights()),
    "config": ("config", configs()),
    "card": ("card", odd_file(make_card().to_json())),
    "request map": (
        "request map",
        odd_file(_request_map()).map(lambda f: {"request_map.json": f["log"]}),
    ),
    "ask table": (
        "ask table",
        odd_file(_ask_table()).map(lambda f: {"ask.json": f["log"]}),
    ),
    "store": ("store", stores()),
    "journal": ("journal", journals()),
    "hugging face": ("hugging face", hugging_face()),
    "player": ("player", players()),
}


def sound_files() -> dict[str, tuple[str, Files]]:
    """Make what is damaged, of each kind the whole.

    Before Hypothesis draws: checking types draws random numbers of Python's.
    """
    minari_folder()
    run, request_map = run_files(), json.dumps(_request_map()).encode()
    return {
        **{name: (kind, run) for name, (kind, _) in KINDS.items() if kind in ("run", "spec")},
        "config": ("config", run),
        "card": ("card", {"log": json.dumps(make_card().to_json()).encode()}),
        "request map": ("request map", {"request_map.json": request_map}),
        "ask table": ("ask table", {"ask.json": json.dumps(_ask_table()).encode()}),
        "store": ("store", store_files()),
        "journal": ("journal", {"log": journal_bytes()}),
        "hugging face": ("hugging face", hugging_face_files()),
        "player": ("player", PLAYER_FILES),
    }
