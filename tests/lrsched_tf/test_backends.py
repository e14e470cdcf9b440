import pytest


# All the tests of a backend in one: minutes on a fast machine.
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_everything_holds_on_the_backend(backend, runs):
    if backend not in runs:
        pytest.skip(f"keras with {backend} is not installed")
    status, output = runs[backend].result()
    print(output[-25_000:])
    assert status == 0, f"tests/lrsched_tf/backend fails with KERAS_BACKEND={backend}"
