"""What happens inside TRL's loop goes in; progress, metrics, looks at held-out prompts and its end come out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from preceptor.errors import DataError
from preceptor.files.atomic import write_atomic
from preceptor.policy.checkpoint import RunState
from preceptor.policy.config import PolicyConfig
from preceptor.policy.held_out import drop_older, judge, measure
from preceptor.policy.metrics import MetricsLog
from preceptor.policy.networks import Networks
from preceptor.policy.rollout import Prompt, Score
from preceptor.policy.trl_state import STATE_FILE
from preceptor.policy.trl_trainers import steps_per_update

# what differs between two equal runs, or is counted anew after an interruption
_CLOCK = ("step_time", "train_", "profiling/", "total_flos", "num_tokens")


class Watch(TrainerCallback):  # type: ignore[misc]
    """Follows one training; `state` is where it stands."""

    def __init__(
        self,
        state: RunState,
        networks: Networks,
        tokenizer: Any,
        score: Score,
        config: PolicyConfig,
        *,
        held_out: Sequence[Prompt],
        eos: Sequence[int],
        folder: Path,
        settings: dict[str, Any],
        log: MetricsLog,
        progress: Callable[[int, int, dict[str, Any]], None],
        is_canceled: Callable[[], bool],
    ) -> None:
        self.state, self.config, self.canceled = state, config, False
        self._networks, self._tokenizer, self._score = networks, tokenizer, score
        self._held_out, self._eos, self._folder, self._settings = held_out, eos, folder, settings
        self._log, self._progress, self._is_canceled = log, progress, is_canceled
        self._unit, self._began, self._seen = steps_per_update(config), time.perf_counter(), dict[str, float]()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Judge the policy that training starts from, unless that was done before an interruption."""
        if self._held_out and self.state.best_update < 0:
            self._judge()
            self._seen = {}  # records begin with the first update
        self._began = time.perf_counter()

    def on_step_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        """Between two updates: look at the held-out prompts when it is time, and end when it must."""
        if state.global_step % self._unit:
            return
        now = time.perf_counter()
        spent = self.state.seconds + now - self._began
        self._began = now
        self.state = replace(self.state, update=state.global_step // self._unit, seconds=spent)
        ended = state.global_step >= state.max_steps or spent >= 60 * self.config.max_minutes
        if self._held_out and (ended or self.state.update % self.config.evaluate_every == 0):
            self._judge()
            ended = ended or self.state.over_budget
        if not ended and self._is_canceled():
            self.canceled = control.should_save = True
        control.should_log = True
        control.should_training_stop = ended or self.canceled

    def on_log(self, _args: Any, state: Any, _control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Keep what TRL reports of an update, under its names."""
        if not logs or "train_runtime" in logs:
            return
        record = {
            name: value
            for name, value in logs.items()
            if isinstance(value, int | float) and not name.startswith(_CLOCK)
        }
        if not math.isfinite(record.get("loss", 0.0)):
            raise DataError(
                f"The loss of {self.config.algorithm} is not a number: lower learning_rate, check the reward model."
            )
        record = {name: value for name, value in record.items() if math.isfinite(value)} | self._seen
        self._seen = {}
        self._log.write(self.state.update, record)
        total = max(1, state.max_steps // self._unit)
        within = 60 * self.config.max_minutes / max(self.state.seconds, 1e-9) * self.state.update
        self._progress(self.state.update, max(self.state.update, min(total, round(within))), record)

    def on_save(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        """Finish a checkpoint: one without this file was cut off."""
        folder = self._folder / f"checkpoint-{state.global_step}"
        record = {"state": asdict(self.state), "settings": self._settings}
        write_atomic(folder / STATE_FILE, json.dumps(record, indent=2, sort_keys=True))
        drop_older(self._folder, self.state)

    def _judge(self) -> None:
        seen = measure(
            self._networks,
            self._tokenizer,
            self._held_out,
            self._score,
            self.config,
            eos=self._eos,
            folder=self._folder,
            update=self.state.update,
        )
        self.state = judge(self._networks, seen, self.state, self.config, folder=self._folder)
        self._seen = {f"held_out/{name}": value for name, value in asdict(seen).items()}
        budget = self.config.kl_budget
        self.state = replace(self.state, over_budget=budget is not None and seen.kl > budget)
