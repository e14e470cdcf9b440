"""What PyTorch adds to the rewind engine."""
