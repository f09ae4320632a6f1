"""How a process that trains asks for memory: in huge pages, and handed back when it is free.

Not for a library to decide: `unglossed train` calls it, and must do so before torch is imported.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
HANDED_BACK = 4 << 20
"""Bytes of a block that goes back to the system when it is freed; a page of 2 MiB fits in."""
_TORCH_HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
_GLIBC_SETTINGS = ("GLIBC_TUNABLES", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


def save_memory() -> bool:
    """Have torch use huge pages, and the C library hand large blocks back when they are freed.

    Left alone, glibc keeps what it was given for blocks of up to 32 MiB, and a training step leaves
    a third of its memory in pieces. Blocks that are asked for anew each time cost more than they
    save in pages of 4 KiB, and less in pages of 2 MiB; so both happen or neither.

    Returns:
        Whether it was done: on Linux with glibc and huge pages, before torch is imported or with
        `THP_MEM_ALLOC_ENABLE=1` in the environment, and without settings of glibc's there.
    """
    asked = os.environ.get(_TORCH_HUGE_PAGES)
    too_late = asked is None and "torch" in sys.modules
    chosen = asked not in (None, "1") or any(name in os.environ for name in _GLIBC_SETTINGS)
    if too_late or chosen or sys.platform != "linux" or not _has_huge_pages():
        return False
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if set_option is None or not set_option(_MMAP_THRESHOLD, HANDED_BACK):
        return False
    set_option(_TRIM_THRESHOLD, 2 * HANDED_BACK)  # as glibc does where it sets the other by itself
    os.environ[_TORCH_HUGE_PAGES] = "1"
    return True


def _has_huge_pages() -> bool:
    try:
        return "[never]" not in HUGE_PAGES.read_text(encoding="ascii")
    except OSError:
        return False
