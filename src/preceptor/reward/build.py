"""A dataset and a config go in; the files of a reward model are written to a folder, and its report comes out."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from preceptor.errors import DataError
from preceptor.modeling.device import choose_device
from preceptor.modeling.resolve import read_config, require_not_policy, resolve_model
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import PairSet, read_pairs
from preceptor.reward.frozen_model import build_frozen
from preceptor.reward.full_model import build_full
from preceptor.reward.gold import Panels, gold_facts, none_of_a_decoder, set_aside, write_gold_apart
from preceptor.reward.page import render_page
from preceptor.reward.parts import Measured, Progress
from preceptor.reward.report import held_out_report


def build_reward_model(
    dataset: Path,
    out: Path,
    config: RewardConfig,
    *,
    models_dir: Path | None = None,
    cache_dir: Path | None = None,
    work_dir: Path | None = None,
    progress: Progress | None = None,
    is_canceled: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Train on `dataset` and write the reward model's files into the empty folder `out`.

    `cache_dir` keeps embeddings (frozen mode), `work_dir` the checkpoint of an interrupted training (full mode).
    Raises InputError or DataError for data that cannot be used, ModelError for a base model that cannot,
    ConfigError for a device that is not there, RunCanceled when asked to stop.
    """
    report_progress = progress or _no_progress
    whole = read_pairs(dataset, seed=config.seed)
    panels = set_aside(whole, share=config.gold_share)
    if not any(pair.weight > 0 and not pair.is_tie for pair in panels.data.of("train", "validation")):
        raise DataError(f"Every training pair of {dataset} has weight 0: give at least one pair a weight.")
    base = resolve_model(config.base_name, models_dir=models_dir)
    require_not_policy(base, config.base_name)
    device = choose_device(config.device)
    kept: Path | None = None  # the checkpoint, until everything is written
    mode = choose_mode(base, config.mode, accelerator=device.type != "cpu")
    if mode == "frozen":
        measured, gold = build_frozen(
            base,
            panels,
            out,
            config,
            models_dir=models_dir,
            cache_dir=cache_dir,
            progress=report_progress,
            is_canceled=is_canceled,
        )
    else:
        panels = none_of_a_decoder(base, whole, panels)
        kept = work_dir / _key(panels.data, config, base) if work_dir else None
        measured = build_full(
            base,
            panels.data,
            out,
            config,
            device=device,
            work_dir=kept,
            progress=report_progress,
            is_canceled=is_canceled,
        )
        gold = write_gold_apart(base, panels, out, config, cache_dir=cache_dir) if panels.gold else None
    report = _report(panels, config, mode, measured) | {"gold": gold_facts(panels, gold)}
    _write_jsonl(out / "prompts.jsonl", [{"prompt": prompt, "split": split} for prompt, split in panels.data.prompts])
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (out / "report.html").write_text(render_page(report), encoding="utf-8")
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
    return report


def _no_progress(done: int, total: int, metrics: dict[str, Any]) -> None:
    """Report nothing."""


def choose_mode(base: Path, mode: str, *, accelerator: bool) -> Literal["full", "frozen"]:
    """The mode that "auto" stands for: fine-tuning a sentence encoder on a CPU for minutes learns next to nothing."""
    if mode == "full" or mode == "frozen":
        return mode  # type: ignore[return-value]
    sentence_encoder = (base / "modules.json").is_file() and "hidden_size" in read_config(base)
    return "frozen" if sentence_encoder and not accelerator else "full"


def headline(report: dict[str, Any]) -> dict[str, float | int | str | None]:
    """The flat numbers of a report that a run's record keeps."""
    return {
        "mode": report["mode"],
        "accuracy": report["accuracy"]["estimate"],
        "accuracy_low": report["accuracy"]["low"],
        "accuracy_high": report["accuracy"]["high"],
        "length_only_accuracy": report["baselines"]["length_only"]["estimate"],
        "untrained_accuracy": report["baselines"].get("untrained", {}).get("estimate"),
        "gain_over_length": report["gain_over"]["length_only"]["estimate"],
        "gain_over_length_low": report["gain_over"]["length_only"]["low"],
        "margin_mean": report["margin"]["mean"],
        "ece": report["calibration"]["ece"],
        "brier": report["calibration"]["brier"],
        "temperature": report["calibration"]["temperature"],
        "score_length_correlation": report["length"]["score_correlation"],
        "rater_ceiling": (report["rater_agreement"] or {}).get("accuracy_ceiling"),
        "train_pairs": report["data"]["train_pairs"],
        "train_ties": report["data"]["train_ties"],
        "test_pairs": report["held_out"]["pairs"],
        "test_prompts": report["held_out"]["prompts"],
    }


def _report(panels: Panels, config: RewardConfig, mode: str, measured: Measured) -> dict[str, Any]:
    data = panels.data
    train, test = data.of("train", "validation"), data.of("test")
    report = held_out_report(
        test,
        chosen=measured.chosen,
        rejected=measured.rejected,
        temperature=measured.temperature,
        train=train,
        baselines=measured.baselines,
        seed=config.seed,
    )
    counts = Counter((pair.split, pair.is_tie) for pair in train)
    facts = {
        "train_pairs": counts["train", False],
        "validation_pairs": counts["validation", False],
        "train_ties": counts["train", True],
        "validation_ties": counts["validation", True],
        "identical_left_out": data.identical,
        "leaked_left_out": data.leaked,
        "raters": len({pair.rater for pair in data.pairs if pair.rater is not None}),
    }
    return {
        "mode": mode,
        "base_model": config.base_name,
        "seed": config.seed,
        "data": facts,
        **report,
        **measured.facts,
    }


def _key(data: PairSet, config: RewardConfig, base: Path) -> str:
    """What a checkpoint may be resumed for: the same pairs under the same settings."""
    settings = config.model_dump(exclude={"dataset"}) | {"device": choose_device(config.device).type}
    content = [str(base), settings, [vars(pair) for pair in data.pairs]]
    return "reward-" + hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
