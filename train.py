"""Dataset -> learner -> checkpoints -> score card. `python train.py --help` says what it takes."""

import sys

from dt.cli.train import main
from envs import load_demo

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load_demo))
