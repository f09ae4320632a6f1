"""The demo and the papers' tables, as programs over the public parts."""
