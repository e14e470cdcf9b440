"""LR range tests of PyTorch models."""
