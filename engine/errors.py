"""The exceptions of Labelwise. Each carries one plain sentence: what was found, where, and what to do.

LabelwiseError
├── DataError       a file, a column or a row of the user's is at fault
├── ArgumentError   a value passed to a function or an option is at fault (also a ValueError)
├── ModelError      a model cannot be found, loaded or trusted
└── RunError        a run cannot be started, found or finished
    └── RunStopped  the user asked a run to stop
"""


class LabelwiseError(Exception):
    """Any fault that Labelwise explains to its user in one sentence."""


class DataError(LabelwiseError):
    """A file, a column or a row is at fault."""


class ArgumentError(LabelwiseError, ValueError):
    """A value passed to a function or an option is at fault."""


class ModelError(LabelwiseError):
    """A model cannot be found, loaded or trusted."""


class RunError(LabelwiseError):
    """A run cannot be started, found or finished."""


class RunStopped(RunError):
    """The user asked the run to stop; what was computed so far is kept."""
