"""Importing this, before torch, has a process ask for memory as `unglossed train` does."""

from unglossed.memory import save_memory

save_memory()
