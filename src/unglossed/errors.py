"""The one exception for what a user can get wrong.

The command line prints its message as a single line and exits with code 2. A fault of the
program itself raises anything else and keeps its traceback.
"""


class InputError(ValueError):
    """A user's input is wrong: the message names file and field, what was found and expected."""
