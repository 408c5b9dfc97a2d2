"""Executes the run named on the command line."""

import sys

from engine.learning.files import offline_environment
from engine.worker.process import execute

offline_environment()
sys.exit(execute(sys.argv[1]))
