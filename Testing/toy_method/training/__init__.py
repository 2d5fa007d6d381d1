"""The toy's training."""
