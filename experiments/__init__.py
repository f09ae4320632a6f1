"""The demo and the papers' tables, as programs over the public parts."""

from unglossed.threads import wait_briefly

wait_briefly()  # here, since the programs load torch
