"""Transfer learning for images."""
