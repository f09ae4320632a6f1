"""From what a sample points at to pictures a model can take: reading, thinning, rendering."""
