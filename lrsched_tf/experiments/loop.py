"""Range tests and trainings of the experiments by `model.fit`."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import keras
import numpy as np

from lrsched.curve.loss_curve import LossCurve
from lrsched.experiments.dataset import Dataset
from lrsched.experiments.experiment import find_and_train, lr_of
from lrsched.experiments.training import Batches, Setting, Training, Variant, Ways, validate
from lrsched_tf.callbacks.one_cycle_fit import fit_one_cycle
from lrsched_tf.callbacks.schedule_callback import ScheduleCallback
from lrsched_tf.experiments.network import network
from lrsched_tf.finder.lr_find import lr_find


class Sequence(keras.utils.PyDataset):  # type: ignore[misc]
    """The batches of a training as `fit` takes them."""

    def __init__(self, setting: Setting, seed: int) -> None:
        super().__init__()
        self._batches = Batches(setting, seed)

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Any:
        return self._batches[index]

    def on_epoch_end(self) -> None:
        self._batches.next_epoch()


class Validations(keras.callbacks.Callback):  # type: ignore[misc]
    """Validation loss and accuracy after each epoch, as the experiments count it."""

    def __init__(self, data: Dataset) -> None:
        super().__init__()
        self._data = data
        self.values: list[tuple[float, float]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        parts = [
            self.model(self._data.x_val[start : start + 500], training=False)
            for start in range(0, len(self._data.x_val), 500)
        ]
        outputs = {
            name: np.concatenate([keras.ops.convert_to_numpy(part[name]) for part in parts])
            for name in parts[0]
        }
        self.values.append(validate(outputs, self._data))


class KerasLoop:
    """`model.fit` with a ScheduleCallback, on the backend that is set up."""

    def __init__(self) -> None:
        self.software = f"Keras {keras.__version__} ({keras.backend.backend()})"
        self.ways: Ways = {
            "lr_find, then OneCycle": partial(find_and_train, self),
            "fit_one_cycle": self._fit_one_cycle,
        }
        self._pretrained = cache(self._pretrain)

    def find(self, setting: Setting, seed: int) -> LossCurve:
        model = self._prepared(setting, seed)
        data = Sequence(setting, seed)
        return lr_find(model, data, num_steps=setting.sweep_steps, sweep=setting.sweep)

    def train(self, variant: Variant, seed: int) -> Training:
        return self._run(variant, seed, self._prepared(variant.setting, seed))

    def _fit_one_cycle(self, setting: Setting, seed: int) -> Training:
        validations = Validations(setting.data)
        history = fit_one_cycle(
            self._prepared(setting, seed),
            Sequence(setting, seed),
            epochs=setting.epochs,
            range_test={"num_steps": setting.sweep_steps, "sweep": setting.sweep},
            accept_doubt=True,
            fallback=1e-3,  # where the range test finds none, `lr_of` says so below
            verbose=0,
            callbacks=[validations],
        )
        curve: Any = history.lr_curve
        return Training(history.history["loss"], validations.values, lr_of(curve, "one_cycle"))

    def _run(self, variant: Variant, seed: int, model: Any) -> Training:
        assert variant.lr is not None  # else the way that finds it is called
        setting = variant.setting
        validations = Validations(setting.data)
        history = model.fit(
            Sequence(setting, seed),
            epochs=setting.epochs,
            verbose=0,
            callbacks=[ScheduleCallback(variant.lr, variant.momentum), validations],
        )
        highest = max(variant.lr.values(setting.total_steps).tolist())
        return Training(history.history["loss"], validations.values, highest)

    def _prepared(self, setting: Setting, seed: int) -> Any:
        """A seeded model, trained before where the setting asks."""
        keras.utils.set_random_seed(seed)
        model = network(setting)
        if setting.pretraining is not None:
            model.set_weights(self._pretrained(setting.pretraining, seed))
        return model

    def _pretrain(self, variant: Variant, seed: int) -> Any:
        model = self._prepared(variant.setting, seed)
        self._run(variant, seed, model)
        return model.get_weights()
