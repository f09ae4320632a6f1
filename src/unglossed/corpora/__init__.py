"""What lies on disk, as rows: one module per corpus, each reading the official layout."""
