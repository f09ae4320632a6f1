"""From a trained model and videos to text."""
