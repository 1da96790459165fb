"""Are flags said as arguments, and commands left as they are?"""

from __future__ import annotations

import pytest

from dt.words import as_arguments, nearest, says_arguments, there_are


@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ("name one with --evaluation.env", "name one with env_id="),
        ("repeat it with --env mine:Nice-v0, or", "repeat it with env_id='mine:Nice-v0', or"),
        ("without a card by --evaluation.env none", "without a card by env_id='none'"),
        ("--evaluation.env: cannot make it", "env_id: cannot make it"),
        ("--run-dir a/b: is there; --resume", "run_dir a/b: is there; resume=True"),
        ("give --model.max-timesteps 30", "give model.max_timesteps 30"),
        ("fit it with dt evaluate --fit-request-map", "fit it with dt evaluate --fit-request-map"),
        ("or `minari download x --all`", "or `minari download x --all`"),
        ("from 3 -- or so -- to 4-5", "from 3 -- or so -- to 4-5"),
    ],
)
def test_a_flag_is_an_argument_and_a_command_stays(flags: str, arguments: str) -> None:
    assert as_arguments(flags) == arguments


@pytest.mark.parametrize("kind", [ValueError, OSError, KeyboardInterrupt])
def test_what_is_raised_keeps_its_kind(kind: type[BaseException]) -> None:
    @says_arguments
    def fails(line: str) -> None:
        raise kind(line)

    with pytest.raises(kind, match="^saved; resume=True continues$"):
        fails("saved; --resume continues")


def test_a_missing_file_is_not_touched() -> None:
    @says_arguments
    def fails() -> None:
        open("/no/--env")

    with pytest.raises(FileNotFoundError, match="/no/--env"):
        fails()


def test_a_name_that_is_near_is_said_first() -> None:
    assert (
        there_are("widht", ["height", "width"]) == "did you mean 'width'? there are height, width"
    )
    assert there_are("x", iter(["height"])) == "there are height"
    assert nearest("x", ["height"]) is None
