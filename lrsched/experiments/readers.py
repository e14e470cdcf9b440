"""Images from files: IDX as MNIST and Fashion-MNIST have it, NPZ, or a folder for each class."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrsched.experiments.dataset import LEAST_IMAGES, Dataset, Images, Labels, split

FORMATS = (
    "a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and t10k-* or test-* (also "
    ".gz), an NPZ file with x_train, y_train, x_test and y_test, or a folder of images with a "
    "folder for each class"
)
NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test")
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
LEAST_PIXELS = 8  # a side; the models halve it three times
MOST_CLASSES = 1000
BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile)


def read(path: Path) -> Dataset:
    """The images at a path, checked.

    Raises:
        ValueError: the path holds none of the formats, or images or labels that do not fit.
        OSError: a file cannot be read.
        ImportError: an image folder without Pillow.
    """
    if not path.exists():
        raise ValueError(f"--data must be {FORMATS}, got {path}, which does not exist")
    try:
        if path.is_file():
            return _from_npz(path)
        found = _idx_files(path)
        return _from_idx(path, found) if found else _from_folders(path)
    except BROKEN as error:
        raise ValueError(f"{path} must hold whole files, got a damaged one: {error}") from None


def _from_npz(path: Path) -> Dataset:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            missing = [name for name in NPZ_NAMES if name not in arrays]
            if missing:
                raise ValueError(
                    f"{path} must hold the arrays {', '.join(NPZ_NAMES)}, got no {missing[0]}"
                )
            x_train, y_train, x_test, y_test = (arrays[name] for name in NPZ_NAMES)
    except (ValueError, AttributeError, EOFError) as error:
        if "must hold the arrays" in str(error):
            raise
        raise ValueError(f"--data must be {FORMATS}, got {path}") from None
    return checked(path.stem, x_train, y_train, x_test, y_test)


def _idx_files(folder: Path) -> list[Path] | None:
    """Images and labels of both parts; None where there are none at all."""
    found = []
    for stems in (("train",), ("t10k", "test")):
        for kind in ("images", "labels"):
            pattern = {f"{stem}-{kind}" for stem in stems}
            files = [
                file
                for file in sorted(folder.iterdir())
                if any(file.name.startswith(begin) for begin in pattern) and "ubyte" in file.name
            ]
            found.append(files[0] if files else folder / f"{stems[0]}-{kind}-*-ubyte")
    present = [file for file in found if file.exists()]
    if present and len(present) < len(found):
        missing = next(file for file in found if not file.exists())
        raise ValueError(f"{folder} must hold all four IDX files, got no {missing.name}")
    return found if present else None


def _from_idx(folder: Path, files: list[Path]) -> Dataset:
    arrays = [_idx(file) for file in files]
    return checked(folder.resolve().name, *arrays)


def _idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes: magic number, sizes, data."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(data) < 4 or data[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} must be an IDX file of unsigned bytes, got another kind")
    axes = data[3]
    sizes = [int(n) for n in np.frombuffer(data, ">u4", min(axes, (len(data) - 4) // 4), 4)]
    body = data[4 + 4 * axes :]
    if len(sizes) < axes or math.prod(sizes) != len(body):
        raise ValueError(f"{path} must hold {sizes} values, got {len(body)} (it is cut short)")
    return np.frombuffer(body, np.uint8).reshape(sizes)


def _from_folders(folder: Path) -> Dataset:
    """Images in a folder for each class, in the order of the names of the folders."""
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    files = [
        (label, file)
        for label, place in enumerate(classes)
        for file in sorted(place.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not files:
        raise ValueError(f"--data must be {FORMATS}, got {folder}, where there is none of it")
    images = [_image(file) for _, file in files]
    for (_, file), image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"images must be of one size, got {_size(images[0])} in {files[0][1]} and "
                f"{_size(image)} in {file} (resize them)"
            )
    labels = np.array([label for label, _ in files])
    whole = split(folder.resolve().name, np.stack(images), labels)
    return checked(whole.name, whole.x_train, whole.y_train, whole.x_val, whole.y_val)


def _image(path: Path) -> NDArray[np.uint8]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError(
            'an image folder needs Pillow: pip install "onecycle-lr[plot]"'
        ) from error
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, SyntaxError):
        raise ValueError(f"{path} must be an image, got a file that is none") from None


def _size(image: NDArray[Any]) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"


def checked(name: str, x_train: Any, y_train: Any, x_val: Any, y_val: Any) -> Dataset:
    """A Dataset of these arrays.

    Raises:
        ValueError: images of other kinds or sizes, too few of them, or labels out of range.
    """
    train, val = _images("x_train", x_train), _images("x_test", x_val)
    if train.shape[1:] != val.shape[1:]:
        raise ValueError(
            f"images must be of one size, got {_size(train[0])} in x_train and {_size(val[0])} in "
            "x_test (resize them)"
        )
    train_labels, val_labels = _labels("y_train", y_train, train), _labels("y_test", y_val, val)
    count = len(np.unique(train_labels))
    for label_name, labels in (("y_train", train_labels), ("y_test", val_labels)):
        if not 0 <= labels.min() <= labels.max() < count:
            raise ValueError(
                f"{label_name} must be labels from 0 to {count - 1}, as y_train has {count} "
                f"classes, got {labels.min()} to {labels.max()} (number the classes from 0)"
            )
    if not 2 <= count <= MOST_CLASSES:
        raise ValueError(f"labels must be of 2 to {MOST_CLASSES} classes, got {count}")
    return Dataset(name, count, train, train_labels, val, val_labels)


def _images(name: str, array: Any) -> Images:
    least = LEAST_IMAGES if name == "x_train" else LEAST_IMAGES // 10
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[3] not in (1, 3) or min(array.shape[1:3]) < LEAST_PIXELS:
        raise ValueError(
            f"{name} must be images of shape [n, height, width] or [n, height, width, 3], of "
            f"{LEAST_PIXELS} pixels a side or more, got shape {array.shape}"
        )
    if len(array) < least:
        raise ValueError(f"{name} must hold {least} images or more, got {len(array)}")
    images: Images
    if array.dtype == np.uint8:
        images = np.divide(array, 255, dtype=np.float32)
    elif array.dtype.kind == "f" and 0 <= array.min() <= array.max() <= 1:  # not so with a NaN
        images = array.astype(np.float32)
    else:
        raise ValueError(
            f"{name} must be bytes, or floats from 0 to 1, got {array.dtype} from {array.min()} to "
            f"{array.max()}"
        )
    return images


def _labels(name: str, array: Any, images: Images) -> Labels:
    if array.ndim == 2 and array.shape[1] == 1:  # as CIFAR has them
        array = array[:, 0]
    if array.shape != (len(images),):
        raise ValueError(
            f"{name} must be a label for each of the {len(images)} images, got shape {array.shape}"
        )
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got {array.dtype}")
    labels: Labels = array.astype(np.int64)
    return labels
