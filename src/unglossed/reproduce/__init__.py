"""A paper's tables as one command: a plan's rows trained, scored, compared and set as tables."""
