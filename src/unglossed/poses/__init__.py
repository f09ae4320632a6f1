"""Points of people in videos: `unglossed poses` runs an estimator and writes arrays to train on."""
