"""Settings of all tests."""

from hypothesis import settings

# No deadline for an example: how long one takes says more about the machine than about the code.
settings.register_profile("unglossed", deadline=None)
settings.load_profile("unglossed")
