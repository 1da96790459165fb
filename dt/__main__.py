"""`python -m dt COMMAND ...` is `dt COMMAND ...`."""

import sys

from dt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
