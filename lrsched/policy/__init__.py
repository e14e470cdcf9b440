"""Several hyper-parameters under one definition."""
