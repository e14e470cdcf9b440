"""LR range tests of Keras models."""
