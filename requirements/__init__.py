"""Lists of packages with hashes, and what is done with them: lock, audit, sbom."""
