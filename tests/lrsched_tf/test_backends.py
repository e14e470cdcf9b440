import pytest

# The backends that compile take the longest, and begin first.
PARTS = [
    ("tensorflow", "range tests"),
    ("jax", "range tests"),
    ("tensorflow", "the others"),
    ("jax", "the others"),
    ("torch", "all"),
]


# Many tests in one: minutes on a fast machine.
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("part", PARTS, ids=" ".join)
def test_everything_holds_on_the_backend(part, runs):
    if part not in runs.parts:
        pytest.skip(f"keras with {part[0]} is not installed")
    status, output = runs.result(part)
    print(output[-25_000:])
    assert status == 0, f"tests/lrsched_tf/backend fails with KERAS_BACKEND={part[0]}"
