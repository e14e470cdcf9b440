"""A schedule inside the compiled training step."""
