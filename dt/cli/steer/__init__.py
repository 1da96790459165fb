"""`steer.py RUN_DIR VERB`: with the weights held fixed, which input makes the wanted output?"""

from dt.cli.steer.call import Demos as Demos
from dt.cli.steer.command import main as main
