"""The translator and its parts: encoder, adapter, language model. Knows nothing of corpora."""
