"""The hashes by which a range test finds what it could not put back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")

from lrsched_torch._digest import ROW
from lrsched_torch.fingerprint import differences, fingerprint

# Shorter than a row of the hash, a whole number of rows, and rows with a rest.
SIZES = [0, 1, 7, ROW, 3 * ROW, 2 * ROW + 5]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.int8, torch.bool]


class Holder(torch.nn.Module):
    def __init__(self, size, dtype=torch.float32):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        values = torch.randint(100, (size,), generator=generator)
        self.register_buffer("values", values.to(dtype))


def changed(module, before):
    return differences(before, fingerprint([module], []))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_the_same_values_have_the_same_hash(size, dtype):
    holder = Holder(size, dtype)
    before = fingerprint([holder], [])
    holder.values.copy_(holder.values.clone())
    assert changed(holder, before) == []


@given(size=st.sampled_from(SIZES[1:]), dtype=st.sampled_from(DTYPES), data=st.data())
def test_a_change_of_one_element_shows(size, dtype, data):
    holder = Holder(size, dtype)
    before = fingerprint([holder], [])
    index = data.draw(st.integers(0, size - 1))
    holder.values.view(torch.uint8)[index] ^= 1
    assert changed(holder, before) == ["buffer values"]


@given(size=st.sampled_from(SIZES[2:]), data=st.data())
def test_values_in_another_order_show(size, data):
    holder = Holder(size)
    holder.values.copy_(torch.arange(size))
    before = fingerprint([holder], [])
    one, other = data.draw(st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True))
    holder.values[[one, other]] = holder.values[[other, one]]
    assert changed(holder, before) == ["buffer values"]


def test_rows_in_another_order_show():
    width = ROW // 4
    holder = Holder(4 * width)
    holder.values.copy_(torch.arange(4 * width))
    before = fingerprint([holder], [])
    holder.values.copy_(holder.values.reshape(4, width).flip(0).reshape(-1))
    assert changed(holder, before) == ["buffer values"]


@pytest.mark.parametrize("dtype", DTYPES[:3], ids=str)
def test_other_signs_show(dtype):
    holder = Holder(ROW, dtype)
    holder.values += 1
    before = fingerprint([holder], [])
    holder.values[[1, 3]] *= -1
    assert changed(holder, before) == ["buffer values"]
    holder.values[[1, 3]] *= -1
    assert changed(holder, before) == []
    holder.values *= -1
    assert changed(holder, before) == ["buffer values"]


def test_a_part_of_a_tensor_that_begins_anywhere_in_memory_is_hashed():
    memory = torch.arange(3 * ROW, dtype=torch.uint8)
    holder = torch.nn.Module()
    holder.register_buffer("values", memory[3:])
    before = fingerprint([holder], [])
    memory[2] += 1
    assert changed(holder, before) == []
    memory[3] += 1
    assert changed(holder, before) == ["buffer values"]
