"""Is text an environment as Gymnasium has it, whose reward is the judge's?"""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

import envs  # noqa: F401 (registers)
from dt.text.data.tokenizers import Bytes
from dt.text.env import TextEnv
from dt.text.judges import FunctionJudge


def test_a_sentence_s_vote_comes_with_its_end() -> None:
    env = gymnasium.make("VotedSentences-v0").unwrapped
    assert isinstance(env, TextEnv)
    check_env(env, skip_render_check=True)
    env.reset(seed=0)
    tokens = [*env.tokenizer.encode("the splendid film works well"), env.tokenizer.end]
    steps = [env.step(np.int64(token)) for token in tokens]
    assert [reward for _, reward, *_ in steps] == [0, 0, 0, 0, 0, 5]
    seen, _, terminated, truncated, infos = steps[-1]
    assert terminated and not truncated
    assert infos["text"] == "the splendid film works well" and env.render() == infos["text"]
    assert seen[: len(tokens)].tolist() == tokens and (seen[len(tokens) :] == seen[-1]).all()


def test_a_text_that_is_too_long_is_truncated_and_judged() -> None:
    judge = FunctionJudge("length", lambda texts: [len(text) for text in texts])
    env = TextEnv(Bytes(), judge, longest=3, prompts=("a", "b"))
    _, infos = env.reset(seed=1)
    assert infos["prompt"] in ("a", "b")
    ends = [env.step(np.int64(ord("x"))) for _ in range(3)]
    assert [end[1:4] for end in ends] == [(0, False, False), (0, False, False), (3, False, True)]
