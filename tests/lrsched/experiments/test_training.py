"""What both loops are given: batches, targets, canvases, and how outputs are judged."""

import numpy as np
import pytest

from lrsched.experiments.dataset import Dataset, on_canvas, shifted
from lrsched.experiments.training import (
    BOX_WEIGHT,
    CNN,
    Batches,
    Setting,
    Training,
    overlap,
    validate,
)


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    x = random.random((40, 8, 8, 1), dtype=np.float32)
    # the pixel tells which image it is
    x[:, 0, 0, 0] = np.arange(40) / 40
    y = np.arange(40) % 4
    return Dataset("noise", 4, x[:30], y[:30], x[30:], y[30:])


def seen(batches):
    return [round(40 * float(image[0, 0, 0])) for images, _ in batches for image in images]


def test_an_epoch_has_each_image_once_with_its_label_and_whole_batches_only(data):
    batches = Batches(Setting(data, CNN, batch_size=8), 0)
    assert len(batches) == 3
    first = list(batches)
    assert [len(images) for images, _ in first] == [8, 8, 8]
    order = seen(first)
    assert len(set(order)) == 24
    assert [i % 4 for i in order] == [y for _, targets in first for y in targets["label"]]


@pytest.mark.parametrize("augment", [False, True])
def test_a_seed_fixes_the_order_and_each_epoch_has_another(data, augment):
    setting = Setting(data, CNN, batch_size=8, augment=augment)
    one, same, other = Batches(setting, 3), Batches(setting, 3), Batches(setting, 4)
    assert one.epoch == 0
    for epoch in (1, 2):
        orders = [np.concatenate([x for x, _ in batches]) for batches in (one, same, other)]
        np.testing.assert_array_equal(orders[0], orders[1])
        assert not np.array_equal(orders[0], orders[2])
        assert one.epoch == epoch
    again = Batches(setting, 3)
    np.testing.assert_array_equal(again[1][0], again[1][0])
    assert not np.array_equal(again[0][0], orders[0][:8])


def test_shifted_images_are_moved_by_a_tenth_at_most_into_an_empty_border():
    x = np.zeros((200, 10, 10, 1), np.float32)
    x[:, 5, 5] = 1
    moved = shifted(x, np.random.default_rng(0))
    places = np.argwhere(moved[..., 0])
    assert len(places) == 200
    assert {tuple(place) for place in places[:, 1:]} == {
        (row, column) for row in (4, 5, 6) for column in (4, 5, 6)
    }


def test_a_box_holds_what_is_bright_in_the_image_and_the_image_is_on_the_canvas():
    x = np.zeros((60, 8, 8, 1), np.float32)
    x[:, 2:6, 3:5] = 1
    made = on_canvas(Dataset("bars", 2, x, np.zeros(60, int), x, np.zeros(60, int)))
    assert made.image_shape == (16, 16, 1)
    sizes = made.box_train[:, 2:] - made.box_train[:, :2]
    np.testing.assert_allclose(sizes, [[2 / 16, 4 / 16]] * 60, atol=1e-6)
    for image, box in zip(made.x_train, np.rint(made.box_train * 16).astype(int), strict=True):
        left, top, right, bottom = box
        assert image[top:bottom, left:right].min() == 1
    assert len(np.unique(made.box_train, axis=0)) > 20


def test_overlap_is_intersection_over_union():
    box = np.array([[0.0, 0.0, 0.5, 0.5]])
    others = {(0, 0, 0.5, 0.5): 1.0, (0.25, 0, 0.75, 0.5): 1 / 3, (0.5, 0.5, 1, 1): 0.0}
    for other, expected in others.items():
        assert overlap(box, np.array([other])) == pytest.approx(expected)
    assert overlap(box[:, ::-1], box[:, ::-1]) == 0  # no area


def test_a_right_class_needs_its_box_too(data):
    scores = np.zeros((10, 4))
    scores[np.arange(10), data.y_val] = 9.0
    loss, share = validate({"label": scores}, data)
    assert share == 1
    assert loss == pytest.approx(np.log(1 + 3 * np.exp(-9)))
    scores[0] = -scores[0]
    assert validate({"label": scores}, data)[1] == 0.9
    made = on_canvas(data)
    boxes = made.box_val.copy()
    assert validate({"label": scores, "box": boxes}, made)[1] == 0.9
    without = validate({"label": scores}, data)[0]
    boxes[1] = 0
    missed, share = validate({"label": scores, "box": boxes}, made)
    assert share == 0.8
    assert missed == pytest.approx(without + BOX_WEIGHT * made.box_val[1].mean() / 10)


def test_a_training_that_failed_is_json_too():
    training = Training([float("nan"), float("inf"), 1.0], [(1.0, 0.5)] * 3, 0.1)
    assert training.losses[2] == 1.0
    assert min(training.losses[:2]) >= 1e9
    assert np.isfinite(training.losses).all()
