"""Package-private: the PyTorch loop of `lrsched experiment` and `lrsched demo`."""
