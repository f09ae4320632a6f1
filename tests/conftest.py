"""Settings of all tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from unglossed.threads import wait_briefly

wait_briefly()

import torch  # noqa: E402

# No deadline for an example: how long one takes says more about the machine than about the code.
settings.register_profile("unglossed", deadline=None)
settings.load_profile("unglossed")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread: sums do not depend on how many share them, and small models lose by it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
