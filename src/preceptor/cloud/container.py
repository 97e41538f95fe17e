"""Inside the image: inputs and hyperparameters go in, `preceptor STAGE` runs, its artifact goes where it is collected.

    python -m preceptor.cloud.container STAGE [--root /opt/ml] [--pack] [--request DIGEST]

The folders are those of a SageMaker training job, below `root`: `input/data/<channel>`, `input/config`, `checkpoints`,
`model` and `output`. With `--pack` the model is also packed as `output/model.tar.gz`, which SageMaker does by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preceptor.artifacts.store import MANIFEST, ArtifactStore
from preceptor.cloud.extract import check_safetensors
from preceptor.cloud.runner import ARCHIVE, CHANNEL
from preceptor.errors import InputError, PreceptorError, StorageError
from preceptor.pipeline import config_class

_ARTIFACT = re.compile(r"[a-z_]+-[0-9a-f]{16}")
_LONGEST_REASON = 1024  # characters that SageMaker keeps of a failure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage. Returns the exit code of the stage's command, and leaves its last sentence in `output/failure`."""
    parser = argparse.ArgumentParser(prog="preceptor.cloud.container", description="Run one stage inside an image.")
    parser.add_argument("stage")
    parser.add_argument("--root", type=Path, default=Path("/opt/ml"))
    parser.add_argument("--pack", action="store_true", help="also write output/model.tar.gz")
    parser.add_argument("--request", help="digest of what was asked for; printed, so that the log names it")
    given = parser.parse_args(arguments)
    print(f"preceptor.cloud.container: {given.stage}, request {given.request or 'unknown'}", flush=True)
    with tempfile.TemporaryDirectory(prefix="preceptor-", ignore_cleanup_errors=True) as scratch:
        try:
            return _run(given.stage, given.root, Path(scratch), pack=given.pack)
        except (PreceptorError, OSError) as error:
            return _failed(given.root, str(error))


def _run(stage: str, root: Path, home: Path, *, pack: bool) -> int:
    (root / "output" / "failure").unlink(missing_ok=True)  # of an attempt before this one
    values = _hyperparameters(root / "input" / "config" / "hyperparameters.json")
    inputs = channels(root, os.environ)
    words = flags(stage, values, inputs)
    link_inputs(inputs, home / "artifacts")
    keep_checkpoints(root / "checkpoints", home / "work")
    home.chmod(0o755)  # the embedded PostgreSQL gives up root's rights and still has to reach its folder
    code, lines = _execute(
        [sys.executable, "-m", "preceptor", stage, *words], {**os.environ, "PRECEPTOR_HOME": str(home)}
    )
    if code != 0:
        said = [line for line in lines if line.startswith("preceptor: ")] or lines[-1:]
        return _failed(root, said[-1] if said else "The stage said nothing.", code)
    made = [line for line in lines if _ARTIFACT.fullmatch(line)]
    if not made:
        return _failed(root, "The stage ended well, but named no artifact.")
    target = Path(os.environ.get("SM_MODEL_DIR", root / "model"))
    shutil.copytree(ArtifactStore(home / "artifacts").open(made[-1], verify=True).path, target, dirs_exist_ok=True)
    if pack:
        (root / "output").mkdir(exist_ok=True)
        with tarfile.open(root / "output" / ARCHIVE, "w:gz", compresslevel=1) as tar:
            for path in sorted(target.rglob("*")):
                tar.add(path, path.relative_to(target).as_posix(), recursive=False)
    return 0


def flags(stage: str, values: Mapping[str, str], inputs: Mapping[str, Path]) -> list[str]:
    """Hyperparameters such as `batch_size: 16` as the words of the stage's command line, `--batch-size 16`.

    Raises:
        InputError: the stage has no such setting, or an input that is named did not come.
    """
    fields = config_class(stage).model_fields
    words: list[str] = []
    for name, value in values.items():
        field = name.replace("-", "_")
        if field not in fields:
            raise InputError(f"The {stage} stage has no setting '{name}'; the image may hold another version.")
        flag = "--" + field.replace("_", "-")
        if fields[field].annotation is bool:
            words.append(flag if value.lower() == "true" else "--no-" + flag[2:])
        else:
            words += [flag, _located(value, inputs) if value.startswith(CHANNEL) else value]
    return words


def _located(value: str, inputs: Mapping[str, Path]) -> str:
    channel, _, file = value.removeprefix(CHANNEL).partition("/")
    if channel not in inputs:
        raise InputError(f"The input '{channel}' did not come.")
    return str(inputs[channel] / file)


def channels(root: Path, environment: Mapping[str, str]) -> dict[str, Path]:
    """The folders of the inputs by name: those below `input/data`, or where SM_CHANNEL_* says."""
    data = root / "input" / "data"
    found = {path.name: path for path in sorted(data.iterdir()) if path.is_dir()} if data.is_dir() else {}
    prefix = "SM_CHANNEL_"
    said = {name.removeprefix(prefix).lower(): Path(at) for name, at in environment.items() if name.startswith(prefix)}
    return {**found, **said}


def link_inputs(inputs: Mapping[str, Path], artifacts: Path) -> None:
    """Put every input that is an artifact into the store under its own id, after a look at all of its hashes.

    Raises:
        StorageError: a file is missing, changed, or the folder is not what its manifest says.
    """
    store = ArtifactStore(artifacts)
    for channel, path in inputs.items():
        manifest = path / MANIFEST
        if not manifest.is_file():
            continue
        target = store.path(str(json.loads(manifest.read_text())["id"]))
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(path.resolve())
        try:
            store.open(f"{target.parent.name}-{target.name}", verify=True)
        except StorageError as error:
            raise StorageError(f"The input {channel} did not arrive whole: {error.message}") from None


def keep_checkpoints(checkpoints: Path, work: Path) -> None:
    """Let the stage write its checkpoints where the service keeps them, without those torn when a machine was taken.

    A folder with a dot in front was still being written. Each torn folder goes alone: a stage passes over a checkpoint
    that lacks a file of its own, the best weights that it names or the model that its training started from.
    """
    checkpoints.mkdir(parents=True, exist_ok=True)
    work.symlink_to(checkpoints.resolve())
    for path in checkpoints.glob("*/.*/"):
        shutil.rmtree(path)
    for path in sorted(found for found in checkpoints.glob("*/**/*") if found.suffix in (".safetensors", ".json")):
        training, part, *_ = path.relative_to(checkpoints).parts
        if path.exists() and _is_torn(path):  # else it went with its folder
            folder = checkpoints / training / part
            shutil.rmtree(folder if folder.is_dir() else folder.parent)


def _is_torn(path: Path) -> bool:
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        else:
            check_safetensors(path)
    except (StorageError, ValueError):
        return True
    return False


def _hyperparameters(path: Path) -> dict[str, str]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{path} cannot be read; it holds the settings of the stage as JSON.") from None
    return {str(name): str(value) for name, value in found.items()}


def _execute(command: list[str], environment: Mapping[str, str]) -> tuple[int, list[str]]:
    """Run the command, pass on what it prints, and return its exit code and its last lines."""
    lines: list[str] = []
    with (
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as child,
        _stopping(child),
    ):
        assert child.stdout is not None
        for line in child.stdout:
            print(line, end="", flush=True)
            lines = [*lines[-49:], line.rstrip()]
    return child.returncode, lines


@contextmanager
def _stopping(child: subprocess.Popen[str]) -> Iterator[None]:
    """Hand a stop of the service on as Ctrl-C, which ends a stage in order."""
    before = signal.signal(signal.SIGTERM, lambda *_: child.send_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _failed(root: Path, reason: str, code: int = 1) -> int:
    (root / "output").mkdir(parents=True, exist_ok=True)
    (root / "output" / "failure").write_text(reason[:_LONGEST_REASON], encoding="utf-8")
    print(reason, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
