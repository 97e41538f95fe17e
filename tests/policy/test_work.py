"""The folder of a training: one process at a time, swept of what a kill left, gone without a checkpoint in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from preceptor.errors import ConflictError
from preceptor.policy.run import train_with_ppo
from preceptor.policy.work import held


def _killed(folder: Path) -> None:
    """Leave what a run leaves that was killed while it wrote, beside a whole checkpoint."""
    for name in ("checkpoint-000002", ".checkpoint-000004-x1", ".checkpoint-000004-old-x2/was", ".best-000004-x3"):
        (folder / name).mkdir(parents=True)
        (folder / name / "weights.safetensors").write_bytes(b"half")
    (folder / ".metrics.jsonl-x4").write_bytes(b"half")
    (folder / "metrics.jsonl").write_bytes(b"{}\n")


def test_what_a_killed_run_was_writing_goes_and_what_it_wrote_stays(tmp_path: Path) -> None:
    _killed(tmp_path / "a")
    _killed(tmp_path / "b")
    with held(tmp_path / "a") as folder:
        assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-000002", "in-use", "metrics.jsonl"]
    assert (tmp_path / "a/checkpoint-000002/weights.safetensors").read_bytes() == b"half"
    assert len(list((tmp_path / "b").iterdir())) == 6


def test_nothing_is_swept_and_nothing_trained_where_another_process_trains(
    tiny_llama: Path, tiny_reward: Path, tmp_path: Path
) -> None:
    with held(tmp_path / "out.training") as folder:
        (folder / ".checkpoint-000004-x1").mkdir()
        with pytest.raises(ConflictError, match="Another process runs this very training"):
            train_with_ppo(str(tiny_llama), str(tiny_reward), str(tmp_path / "out"))
        assert (folder / ".checkpoint-000004-x1").is_dir()
    assert not list(tmp_path.iterdir())
