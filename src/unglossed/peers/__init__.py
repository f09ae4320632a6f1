"""Models that other public code has trained, turned into ours."""
