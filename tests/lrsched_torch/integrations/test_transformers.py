"""Transformers' Trainer drives the schedulers, and resumes them from a checkpoint."""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch, of the torch extra")
pytest.importorskip("transformers", reason="needs transformers, of the integrations extra")
pytest.importorskip("accelerate", reason="needs accelerate, of the integrations extra")

import transformers
from torch.utils.data import DataLoader, Dataset

import lrsched
from lrsched_torch import OneCycleLR, lr_find, steps_for
from lrsched_torch.rewind.snapshot import TrainingSnapshot

EPOCHS, SAMPLES, BATCH, ACCUMULATE = 2, 44, 2, 4
# 22 batches an epoch; the last update of each has the gradients of two batches.
STEPS = steps_for(EPOCHS, SAMPLES // BATCH, accumulate=ACCUMULATE)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")


class Tokens(Dataset):
    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        ids = torch.randint(0, 32, (8,), generator=generator)
        return {"input_ids": ids, "labels": ids}


class Applied(transformers.TrainerCallback):
    """lr and beta_1 that every update used."""

    def __init__(self):
        self.lrs, self.betas = [], []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **others):
        self.lrs.append(optimizer.param_groups[0]["lr"])
        self.betas.append(optimizer.param_groups[0]["betas"])


def tiny_model():
    config = transformers.GPT2Config(
        vocab_size=32, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
    )
    transformers.set_seed(0)
    model = transformers.GPT2LMHeadModel(config)
    return model, torch.optim.AdamW(model.parameters(), lr=1.0)


def train(folder, resume_from=None):
    model, optimizer = tiny_model()
    scheduler = OneCycleLR(optimizer, max_lr=0.01, total_steps=STEPS, after_end="raise")
    applied = Applied()
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=ACCUMULATE,
            save_steps=STEPS // 2,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=Tokens(),
        optimizers=(optimizer, scheduler),
        callbacks=[applied],
    )
    trainer.train(resume_from_checkpoint=resume_from)
    return model, applied, trainer


def test_training_and_resuming_follow_the_schedule(tmp_path):
    whole, applied, trainer = train(tmp_path)
    assert trainer.state.global_step == STEPS
    assert applied.lrs == list(lrsched.one_cycle(0.01, STEPS).values())
    assert applied.betas == [(m, 0.999) for m in lrsched.one_cycle_momentum(STEPS).values()]
    logged = [row["learning_rate"] for row in trainer.state.log_history if "loss" in row]
    assert logged[0] == applied.lrs[0] or logged[0] == applied.lrs[1]

    checkpoint = str(tmp_path / f"checkpoint-{STEPS // 2}")
    resumed, rest, _ = train(tmp_path, resume_from=checkpoint)
    assert rest.lrs == applied.lrs[STEPS // 2 :]
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_range_test_takes_its_models_and_batches_as_they_are():
    model, optimizer = tiny_model()
    scheduler = transformers.get_cosine_schedule_with_warmup(optimizer, 5, STEPS)
    batches = [transformers.BatchEncoding(batch) for batch in DataLoader(Tokens(), 4)]
    with torch.random.fork_rng():
        first = model(**batches[0]).loss.item()
    snapshot = TrainingSnapshot(model, optimizer, stateful=[scheduler])
    curve = lr_find(model, optimizer, None, batches, num_steps=60, stateful=[scheduler])
    assert curve.loss[0] == first
    assert snapshot.differences() == []
