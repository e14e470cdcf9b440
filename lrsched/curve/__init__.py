"""Loss curves of range tests, and what is read from them."""
