"""Scores, the evaluation of a model on a corpus, and the report that shows both."""
