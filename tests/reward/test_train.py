"""The loop of the full mode on a tiny classifier: it learns, resumes to the same weights, and stops when asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from preceptor.errors import DataError, RunCanceled
from preceptor.modeling.sequences import EncodedPair
from preceptor.reward.batches import EncodedPairs, batch_parts, epoch_batches
from preceptor.reward.build import build_reward_model
from preceptor.reward.config import RewardConfig
from preceptor.reward.train import preference_loss


def planted(write_rows: Any) -> Path:
    """40 pairs in which the word 'doctor' wins."""
    rows = [
        {
            "prompt": f"question {i}",
            "chosen": "see a doctor " + "and rest " * (i % 3),
            "rejected": "never mind it " + "and rest " * (i % 3),
            "metadata": {"split": "test" if i % 4 == 0 else "validation" if i % 4 == 1 else "train"},
        }
        for i in range(40)
    ]
    path: Path = write_rows(rows)
    return path


def train(data: Path, base: Path, out: Path, **more: Any) -> dict[str, Any]:
    out.mkdir()
    settings = {"epochs": 3, "batch_size": 4, "learning_rate": 1e-3, "mode": "full", "base_model": str(base)}
    config = RewardConfig(dataset=str(data), **{**settings, **more.pop("settings", {})})
    return build_reward_model(data, out, config, **more)


def test_the_loss_is_the_negative_log_likelihood_with_margin_and_weight() -> None:
    chosen, rejected = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 0.0])
    given = {"margins": torch.tensor([0.5, 0.0]), "weights": torch.tensor([3.0, 1.0])}
    loss = preference_loss(chosen, rejected, labels=torch.ones(2), **given)
    expected = (3 * torch.log1p(torch.exp(torch.tensor(-0.5))) + torch.log(torch.tensor(2.0))) / 4
    assert loss.item() == pytest.approx(expected.item())


def test_an_epoch_meets_every_pair_once_and_orders_differ() -> None:
    first, second = (epoch_batches(10, batch_size=4, seed=1, epoch=e) for e in (0, 1))
    assert sorted(i for batch in first for i in batch) == list(range(10))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert first != second
    assert first == epoch_batches(10, batch_size=4, seed=1, epoch=0)


def rows_of(*lengths: int) -> list[EncodedPair]:
    return [EncodedPair([100 + n] * length, None, 0, 0) for n, length in enumerate(lengths)]


def test_parts_hold_every_pair_of_a_batch_once_within_their_tokens() -> None:
    pairs = EncodedPairs(rows_of(30, 5, 5, 90, 8, 7), rows_of(30, 5, 6, 90, 8, 8), 0, 0)
    assert batch_parts(pairs, [5, 3, 0, 1, 2], tokens=36) == [[1, 2, 5], [0], [3]]  # 10 + 11 + 15 tokens; 60; 180


def test_steps_in_parts_move_the_weights_as_one_loss_over_the_padded_batch_does(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from preceptor.modeling.classifier import _padded_scores, load_classifier
    from preceptor.reward import train as loop

    pairs = EncodedPairs(rows_of(9, 30, 4, 17), rows_of(12, 25, 30, 3), 0, 0)
    given = {"margins": [0.0, 0.5, 0.0, 0.2], "weights": [1.0, 3.0, 0.5, 1.0], "labels": [1.0, 1.0, 0.5, 1.0]}
    config = RewardConfig(dataset="-", epochs=2, batch_size=4, learning_rate=100.0, max_grad_norm=1e9)

    def after_two_steps(*, parts: bool) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = load_classifier(tiny_bert, trained=False)[0].double()  # so that no rounding hides a difference
        # a plain gradient step, so that the change of a weight is its gradient and not its sign
        if parts:
            with monkeypatch.context() as patch:
                patch.setattr(loop, "_TOKENS_ON_CPU", 40)
                patch.setattr(torch.optim, "AdamW", lambda p, lr, **_: torch.optim.SGD(p, lr=lr))
                loop.train_classifier(
                    model,
                    pairs,
                    EncodedPairs([], [], 0, 0),
                    **given,
                    held_weights=[],
                    held_labels=[],
                    config=config,
                    bfloat16=False,
                    checkpoint=None,
                    progress=lambda *_: None,
                    is_canceled=lambda: False,
                )
        else:
            rows = {name: torch.tensor(row) for name, row in given.items()}
            for rate in (100.0, 50.0):
                scores = _padded_scores(model, pairs.rows(range(4)))
                preference_loss(scores[:4], scores[4:], **rows).backward()
                torch.optim.SGD(model.parameters(), lr=rate).step()
                model.zero_grad()
        return {name: value.detach() for name, value in model.named_parameters()}

    torch.manual_seed(0)
    untouched = load_classifier(tiny_bert, trained=False)[0].double()
    start = {name: value.detach() for name, value in untouched.named_parameters()}
    ours, plain = after_two_steps(parts=True), after_two_steps(parts=False)
    moved = max(float((plain[name] - start[name]).abs().max()) for name in plain)
    assert moved > 1e-3
    for name, value in ours.items():
        torch.testing.assert_close(value, plain[name], rtol=0.0, atol=1e-6 * moved)


def test_a_soft_label_is_a_share_of_either_loss() -> None:
    one, zero = torch.ones(1), torch.zeros(1)
    given = {"margins": zero, "weights": one}
    won, lost = (float(preference_loss(a, b, labels=one, **given)) for a, b in ((one, zero), (zero, one)))
    assert float(preference_loss(one, zero, labels=0.75 * one, **given)) == pytest.approx(0.75 * won + 0.25 * lost)


@pytest.mark.parametrize("kept", [True, False])
def test_the_weights_of_the_best_epoch_come_back_and_every_epoch_has_an_order_of_its_own(
    kept: bool, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from preceptor.modeling.classifier import load_classifier
    from preceptor.reward import train as loop
    from preceptor.reward.checkpoint import Checkpoint

    torch.manual_seed(0)
    model = load_classifier(tiny_bert, trained=False)[0]
    start = {name: value.detach().clone() for name, value in model.state_dict().items()}
    pairs = EncodedPairs(rows_of(9, 9, 9, 9), [EncodedPair([120 + n] * 9, None, 0, 0) for n in range(4)], 0, 0)
    contrary = EncodedPairs(pairs.rejected, pairs.chosen, 0, 0)  # what is learned makes these worse
    epochs, limits, clip = [], set(), torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(loop, "epoch_batches", lambda n, **how: epochs.append(how["epoch"]) or epoch_batches(n, **how))
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda p, most: limits.add(most) or clip(p, most))

    def trained() -> loop.TrainState:
        return loop.train_classifier(
            model,
            pairs,
            contrary,
            **{"margins": [0.0] * 4, "weights": [1.0] * 4, "labels": [1.0] * 4},
            held_weights=[1.0] * 4,
            held_labels=[1.0] * 4,
            config=RewardConfig(dataset="-", epochs=2, batch_size=2, learning_rate=1e-3, max_grad_norm=0.25),
            bfloat16=False,
            checkpoint=Checkpoint(tmp_path, key="k") if kept else None,
            progress=lambda *_: None,
            is_canceled=lambda: False,
        )

    state = trained()
    assert state.history is not None
    assert all(found["held_loss"] > state.best_loss for found in state.history)
    assert (state.best_epoch, epochs, limits) == (0, [0, 1], {0.25})
    assert all(torch.equal(value, start[name]) for name, value in model.state_dict().items())
    if not kept:
        model.classifier.weight.register_hook(lambda gradient: gradient * float("nan"))
        with pytest.raises(DataError, match="no finite number"):
            trained()
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())  # no step was taken


def test_a_planted_word_is_learned_and_the_folder_loads_with_plain_transformers(
    tmp_path: Path, tiny_bert: Path, write_rows: Any
) -> None:
    from transformers import AutoModelForSequenceClassification

    out = tmp_path / "model"
    losses: list[float] = []
    report = train(planted(write_rows), tiny_bert, out, progress=lambda *seen: losses.append(seen[2]["loss"]))
    assert report["epochs"][-1]["train_loss"] == pytest.approx(sum(losses[-5:]) / 5)
    assert report["accuracy"]["estimate"] == 1.0
    assert report["mode"] == "full"
    assert len(report["epochs"]) == 3
    assert AutoModelForSequenceClassification.from_pretrained(out).config.num_labels == 1
    assert {file.suffix for file in out.iterdir()} <= {".json", ".jsonl", ".html", ".safetensors", ".txt"}
    assert str(tiny_bert) not in (out / "config.json").read_text() + (out / "tokenizer_config.json").read_text()


def test_an_interrupted_training_resumes_and_ends_with_the_same_weights(
    tmp_path: Path, tiny_bert: Path, write_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    monkeypatch.setattr("preceptor.reward.full_model.has_fast_bfloat16", lambda _: False)
    data = planted(write_rows)
    train(data, tiny_bert, tmp_path / "whole", work_dir=tmp_path / "work-a")
    steps: list[int] = []

    def stop_in_the_third_epoch(done: int, total: int, metrics: dict[str, Any]) -> None:
        steps.append(done)

    with pytest.raises(RunCanceled):
        train(
            data,
            tiny_bert,
            tmp_path / "torn",
            work_dir=tmp_path / "work-b",
            progress=stop_in_the_third_epoch,
            is_canceled=lambda: len(steps) >= 12,
        )
    resumed: list[int] = []
    train(
        data,
        tiny_bert,
        tmp_path / "resumed",
        work_dir=tmp_path / "work-b",
        progress=lambda done, *_: resumed.append(done),
    )
    assert resumed == [11, 12, 13, 14, 15]
    whole, again = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert list((tmp_path / "work-b").iterdir()) == []


@pytest.mark.parametrize(
    "older", ["last/model.safetensors", "last/optimizer.safetensors", "last/state.json", "best/model.safetensors", None]
)
def test_a_checkpoint_with_files_of_two_epochs_is_passed_over(
    tmp_path: Path, tiny_bert: Path, older: str | None
) -> None:
    import shutil

    import torch

    from preceptor.modeling.classifier import load_classifier
    from preceptor.reward.checkpoint import Checkpoint

    model = load_classifier(tiny_bert, trained=False)[0]
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    kept = Checkpoint(tmp_path / "kept", key="k")
    for epoch in (1, 2):
        kept.save_best(model, epoch=epoch)
        kept.save(model, optimizer, schedule, {"epoch": epoch, "best_epoch": epoch})
        if epoch == 1:
            shutil.copytree(kept.folder, tmp_path / "before")
    assert kept.exists()
    assert not Checkpoint(kept.folder, key="other").exists()
    if older is not None:
        shutil.copyfile(tmp_path / "before" / older, kept.folder / older)
    else:
        shutil.rmtree(kept.folder / "best")
    assert not kept.exists()


def test_a_failure_after_the_last_step_costs_no_step(
    tmp_path: Path, tiny_bert: Path, write_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, work = planted(write_rows), tmp_path / "work"
    with monkeypatch.context() as patch:
        patch.setattr("preceptor.reward.build.held_out_report", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(data, tiny_bert, tmp_path / "torn", work_dir=work)
    steps: list[int] = []
    report = train(data, tiny_bert, tmp_path / "again", work_dir=work, progress=lambda done, *_: steps.append(done))
    assert steps == []
    assert len(report["epochs"]) == 3
    assert list(work.iterdir()) == []


def test_a_training_whose_loss_is_no_number_stops_and_publishes_nothing(
    tmp_path: Path, tiny_bert: Path, write_rows: Any
) -> None:
    rows = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": "bad", "metadata": {}} for i in range(6)]
    data = write_rows(rows)  # too few prompts for a validation split, so no epoch is chosen by its loss
    with pytest.raises(DataError, match="no finite number"):
        train(data, tiny_bert, tmp_path / "model", settings={"learning_rate": 1e38})
    assert not (tmp_path / "model" / "preceptor.json").exists()
    report = train(data, tiny_bert, tmp_path / "sound")
    assert [found["held_loss"] for found in report["epochs"]] == [None] * 3  # nothing was held out to measure it on
    assert report["best_epoch"] == 3


def test_no_epochs_leave_the_fitted_output_layer(tmp_path: Path, tiny_bert: Path, write_rows: Any) -> None:
    report = train(planted(write_rows), tiny_bert, tmp_path / "model", settings={"epochs": 0})
    assert report["accuracy"]["estimate"] > 0.8
    assert report["best_epoch"] == 0


def test_pairs_teach_by_their_weight_and_margin(
    tmp_path: Path, tiny_bert: Path, write_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file

    from preceptor.reward import full_model

    rows = [json.loads(line) for line in planted(write_rows).read_text().splitlines()]
    taught = [row for row in rows if row["metadata"]["split"] == "train"]
    wrong = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in taught]
    light = [{**row, "metadata": {"split": "train", "weight": 1e-9}} for row in wrong]
    loop, given = full_model.train_classifier, dict[str, Any]()
    monkeypatch.setattr(full_model, "train_classifier", lambda *rows, **more: given.update(more) or loop(*rows, **more))

    def output_layer(name: str, extra: list[Any], **more: Any) -> torch.Tensor:
        data = write_rows([*rows, *extra], f"{name}.jsonl")
        train(data, tiny_bert, tmp_path / name, settings={"epochs": 0} | more)
        return load_file(tmp_path / name / "model.safetensors")["classifier.weight"].flatten()

    plain, fully = output_layer("plain", []), output_layer("fully", wrong)
    assert (fully - plain).norm() > 0.1 * plain.norm()
    assert (output_layer("light", light) - plain).norm() < 0.01 * plain.norm()
    assert sorted(given["weights"]) == pytest.approx([1e-9] * 20 + [1.0] * 20)
    for row in taught:
        row["metadata"]["margin"] = 4.0
    assert output_layer("asked", []).norm() > 1.1 * plain.norm()
    assert given["margins"] == [4.0] * 20
    assert torch.equal(output_layer("unscaled", [], margin_scale=0.0), plain)
    assert given["margins"] == [0.0] * 20


def test_validation_pairs_choose_epoch_and_temperature_by_their_weights(
    tmp_path: Path, tiny_bert: Path, write_rows: Any
) -> None:
    rows = [json.loads(line) for line in planted(write_rows).read_text().splitlines()]
    wrong = [
        {**row, "chosen": row["rejected"], "rejected": row["chosen"], "metadata": {"split": "validation", "weight": 0}}
        for row in rows
        if row["metadata"]["split"] == "validation"
    ]
    kept, without = ("model.safetensors", "preceptor.json"), write_rows(rows)
    plain = train(without, tiny_bert, tmp_path / "without")
    doubted = write_rows([*rows, *wrong, *wrong], "doubted.jsonl")  # of raters who count for nothing
    found = train(doubted, tiny_bert, tmp_path / "with")
    assert (found["epochs"], found["best_epoch"]) == (plain["epochs"], plain["best_epoch"])
    assert all((tmp_path / "with" / n).read_bytes() == (tmp_path / "without" / n).read_bytes() for n in kept)
    light = [{**row, "metadata": {**row["metadata"], "weight": 1e-6}} for row in wrong]
    nearly = train(write_rows([*rows, *light], "light.jsonl"), tiny_bert, tmp_path / "light")
    assert nearly["epochs"][-1]["held_loss"] == pytest.approx(plain["epochs"][-1]["held_loss"], abs=1e-3)
    assert nearly["calibration"]["temperature"] < 5.0  # half of its pairs are wrong: by number, not weight, it is 20


def test_what_the_length_limit_cut_is_counted(tmp_path: Path, tiny_bert: Path, write_rows: Any) -> None:
    report = train(planted(write_rows), tiny_bert, tmp_path / "model", settings={"max_length": 16, "epochs": 1})
    card = json.loads((tmp_path / "model" / "preceptor.json").read_text())
    assert card["max_length"] == 16
    assert report["cut"] == {"prompts": 0, "responses": 0}
    long = [{"prompt": f"p{i} " * 30, "chosen": "see a doctor", "rejected": "no", "metadata": {}} for i in range(4)]
    report = train(
        write_rows(long, "long.jsonl"), tiny_bert, tmp_path / "cut", settings={"max_length": 16, "epochs": 1}
    )
    assert report["cut"] == {"prompts": 8, "responses": 0}


def test_a_trained_output_is_where_fitting_starts(tiny_bert: Path) -> None:
    from preceptor.modeling.classifier import forward_scores, load_classifier
    from preceptor.reward.batches import encode_pairs
    from preceptor.reward.dataset import Pair
    from preceptor.reward.probe import fit_output_layer

    torch.manual_seed(0)
    model, tokenizer = load_classifier(tiny_bert, trained=False)
    texts = [f"{word} {other}" for word in ("rest", "drink", "wait", "call") for other in ("now", "today", "later")]
    rows = encode_pairs(tokenizer, [Pair("q", text, "x") for text in texts], max_length=32).chosen
    before = forward_scores(model, rows, bfloat16=False).detach()
    order = before.argsort().tolist()
    pairs = [Pair(f"q{i}", texts[order[i + 6]], texts[order[i]]) for i in range(6)]  # what it knew agrees with them
    encoded = encode_pairs(tokenizer, pairs, max_length=32)
    prompts, ones, zeros = [pair.prompt for pair in pairs], np.ones(6), np.zeros(6)
    assert fit_output_layer(
        model, encoded, prompts=prompts, weights=ones, targets=zeros, seed=0, bfloat16=False, trained=True
    )
    after = forward_scores(model, rows, bfloat16=False).detach()
    assert np.corrcoef(before.numpy(), after.numpy())[0, 1] > 0.8
