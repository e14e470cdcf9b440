"""Package-private: the experiments of `lrsched experiment`, up to the training loop.

Data, models and experiments are described here without a framework. A `Loop` trains and runs range
tests; each adapter has one in its own module, which runs as a process that this package starts.
"""
