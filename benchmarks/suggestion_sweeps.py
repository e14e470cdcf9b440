"""How the suggestion bears other sweeps than the stored ones: live, on twelve of the tasks.

    python benchmarks/suggestion_sweeps.py [--bench FOLDER]

One run each of sweeps of other lengths, other ends and on a linear scale, about a minute. Data sets
and models are those of the benchmark's folder; regret is read from the stored trainings.
"""

from __future__ import annotations

import numpy as np
import suggestion_data as data
import suggestion_tasks
import torch

import lrsched

SEED = 100
TASKS = (
    "digits_mlp_sgdm_b64",
    "mnist_cnn_adam_b64",
    "mnist1d_cnn_adamw_b64",
    "wine_mlp_sgdm_b8",
    "diabetes_mlp_adam_b32_raw",
    "digits_ae_adam_b128",
    "digits_resnet_sgdm_b32",
    "mnist_mlp_rmsprop_b16",
    "digits_ae_sgdm_b32_bce",
    "k_digits_hinge_sgdm_b16",
    "k_digits_vae_adam_b64",
    "k_cancer_mlp_nesterov_b8",
)
SWEEPS = {
    "700 steps, 1e-7 to 10": np.geomspace(1e-7, 10, 700),
    "50 steps, 1e-7 to 10": np.geomspace(1e-7, 10, 50),
    "100 steps, 1e-5 to 10": np.geomspace(1e-5, 10, 100),
    "200 steps, 1e-6 to 1": np.geomspace(1e-6, 1, 200),
    "300 steps, linear to 1": np.linspace(1e-5, 1, 300),
    "100 steps, linear to 0.3": np.linspace(1e-5, 0.3, 100),
}


def main() -> None:
    options = data.arguments(__doc__).parse_args()
    curves, bench = data.bench_modules(options.bench, "curves", "tasks")
    torch.set_num_threads(1)
    recipes = {task.name: task for task in (*bench.TASKS, *suggestion_tasks.define(bench))}
    every = (*data.public_tasks(options.bench), *data.new_tasks())
    stored = {task.name: task for task in every}
    rows = []
    for title, lrs in SWEEPS.items():
        regrets, sure, silent = [], 0, 0
        for name in TASKS:
            losses = curves.sweep(recipes[name].make(SEED), lrs.tolist())["loss"]
            for use, truth in stored[name].truths.items():
                found = lrsched.suggest(lrs[: len(losses)], losses, schedule=data.SCHEDULES[use])
                regrets.append(truth.regret(found.lr or data.FALLBACK[stored[name].family]))
                sure += found.confident
                silent += found.lr is None
        count = len(regrets)
        rows.append(f"{title} | {np.mean(regrets):.3f} | {sure} of {count} | {silent}")
    data.print_table("sweep | mean regret | confident | no answer", rows)


if __name__ == "__main__":
    main()
