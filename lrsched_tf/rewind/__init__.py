"""What Keras adds to the rewind engine: its kinds of values, and where a training keeps state."""
