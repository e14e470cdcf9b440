"""Package-private: the Keras loop of `lrsched experiment` and `lrsched demo`."""
