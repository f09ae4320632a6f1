"""Cutting a language model's vocabulary to what a text needs."""
