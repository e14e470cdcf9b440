"""Images of users: IDX, NPZ and image folders are read alike, and what does not fit is said."""

import gzip

import numpy as np
import pytest

from lrsched.experiments.readers import read

X = np.random.default_rng(0).integers(0, 256, (160, 10, 9), np.uint8)
Y = np.arange(160) % 4
TRAIN = slice(0, 100)
VAL = slice(100, 160)
ARRAYS = {"x_train": X[TRAIN], "y_train": Y[TRAIN], "x_test": X[VAL], "y_test": Y[VAL]}


def idx(array):
    sizes = np.array(array.shape, ">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write_idx(folder, test="t10k", gz=True):
    for part, name in ((TRAIN, "train"), (VAL, test)):
        for kind, array in (("images-idx3", X[part]), ("labels-idx1", Y[part])):
            data = idx(array)
            file = folder / f"{name}-{kind}-ubyte{'.gz' if gz else ''}"
            file.write_bytes(gzip.compress(data) if gz else data)


def save(path, **changes):
    np.savez(path, **{k: v for k, v in {**ARRAYS, **changes}.items() if v is not None})
    return path


def is_ours(data):
    np.testing.assert_array_equal(data.x_train[..., 0], X[TRAIN].astype(np.float32) / 255)
    np.testing.assert_array_equal(data.x_val[..., 0], X[VAL].astype(np.float32) / 255)
    np.testing.assert_array_equal(data.y_train, Y[TRAIN])
    np.testing.assert_array_equal(data.y_val, Y[VAL])
    assert data.x_train.dtype == np.float32
    assert data.y_val.dtype == np.int64
    assert data.num_classes == 4


@pytest.mark.parametrize(("test", "gz"), [("t10k", True), ("test", False)])
def test_idx_files_hold_what_was_written(tmp_path, test, gz):
    write_idx(tmp_path, test, gz)
    is_ours(read(tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"x_train": X[TRAIN].astype(np.float64) / 255, "x_test": X[VAL].astype(np.float32) / 255},
        {"y_train": Y[TRAIN, None], "x_test": X[VAL, ..., None]},
    ],
)
def test_npz_holds_what_was_written(tmp_path, changes):
    is_ours(read(save(tmp_path / "images.npz", **changes)))


def test_an_image_folder_has_a_class_for_each_folder(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    for index in range(160):
        folder = tmp_path / f"class {Y[index]}"
        folder.mkdir(exist_ok=True)
        image.fromarray(X[index]).save(folder / f"{index:03}.png")
    data = read(tmp_path)
    assert data.image_shape == (10, 9, 3)
    assert (len(data.x_train), len(data.x_val), data.num_classes) == (128, 32, 4)
    whole = {X[i].tobytes(): Y[i] for i in range(160)}
    for part, labels in ((data.x_train, data.y_train), (data.x_val, data.y_val)):
        pixels = np.rint(part[..., 1] * 255).astype(np.uint8)
        assert [whole[each.tobytes()] for each in pixels] == labels.tolist()


def two_sizes(folder):
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    for name, size in (("a", 9), ("b", 12)):
        (folder / name).mkdir()
        image.new("L", (size, 9)).save(folder / name / "1.png")


def no_image(folder):
    pytest.importorskip("PIL", reason="needs Pillow")
    (folder / "a").mkdir()
    (folder / "a" / "1.png").write_bytes(b"no image")


def cut_short(folder):
    write_idx(folder, gz=False)
    file = folder / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-5])


def cut_in_gzip(folder):
    write_idx(folder)
    file = folder / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-50])


def one_of_four(folder):
    write_idx(folder)
    (folder / "train-labels-idx1-ubyte.gz").unlink()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "must be a folder with train-images.*none of it"),
        (two_sizes, r"of one size, got 9 x 9 in .*1\.png and 12 x 9 in .*\(resize them\)"),
        (no_image, "must be an image, got a file that is none"),
        (cut_short, "must hold .* values, got .*cut short"),
        (cut_in_gzip, "must hold whole files, got a damaged one"),
        (one_of_four, r"all four IDX files, got no train-labels-\*-ubyte"),
    ],
)
def test_a_folder_that_cannot_be_read_says_why(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


LATE = np.where(Y == 3, 7, Y)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None}, "must hold the arrays x_train, .* got no x_test"),
        ({"x_test": X[VAL, :9]}, "one size, got 9 x 10 in x_train and 9 x 9 in x_test .*resize"),
        ({"x_train": X[TRAIN, :6], "x_test": X[VAL, :6]}, "8 pixels a side or more"),
        ({"x_train": X[:50], "y_train": Y[:50]}, "x_train must hold 100 images or more, got 50"),
        ({"x_train": X[TRAIN].astype(float)}, "bytes, or floats from 0 to 1, got float64"),
        ({"x_train": np.full((100, 10, 9), np.nan)}, "floats from 0 to 1"),
        ({"y_train": LATE[TRAIN], "y_test": LATE[VAL]}, "from 0 to 3, .* got 0 to 7 .*number the"),
        ({"y_train": Y[TRAIN] - 1}, "y_train must be labels from 0 to 3.* got -1 to 2"),
        ({"y_test": Y[VAL] + 1}, "y_test must be labels from 0 to 3.* got 1 to 4"),
        ({"y_train": Y[TRAIN] / 2}, "y_train must be integers, got float64"),
        ({"y_train": Y[:99]}, r"a label for each of the 100 images, got shape \(99,\)"),
        ({"y_train": Y[TRAIN] * 0, "y_test": Y[VAL] * 0}, "2 to 1000 classes, got 1"),
    ],
)
def test_arrays_that_do_not_fit_say_which_and_what_to_do(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read(save(tmp_path / "images.npz", **changes))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"lr,loss\n"])
def test_a_file_that_is_no_npz_is_told_what_is_taken(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"an NPZ file with x_train|whole files"):
        read(path)


def test_pickles_are_not_opened(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, **{**ARRAYS, "y_train": np.array([{}] * 100)})
    with pytest.raises(ValueError, match="must be a folder with"):
        read(path)


def test_a_path_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ValueError, match="which does not exist"):
        read(tmp_path / "nothing")
