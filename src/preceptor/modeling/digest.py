"""A model's name or artifact id in, the digest that identifies its weights out."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from preceptor.artifacts.store import ArtifactStore
from preceptor.errors import NotFoundError
from preceptor.files.atomic import file_digest
from preceptor.modeling.resolve import resolve_model

_IDENTIFYING = ("*.safetensors", "config.json", "generation_config.json", "tokenizer*", "chat_template*")


def model_digest(model: str, *, store: ArtifactStore, models_dir: Path, upstream_url: str | None = None) -> str:
    """16 hex digits: the artifact's own digest, else a hash over the files of the resolved folder.

    What an upstream server runs cannot be seen, so its address and the model's name stand for it.

    Raises:
        ModelError: the model is neither an artifact nor to be found.
    """
    try:
        return store.open(model).id.rpartition("-")[2]
    except NotFoundError:
        pass
    if upstream_url is not None:
        return hashlib.sha256(f"{upstream_url} {model}".encode()).hexdigest()[:16]
    return _folder_digest(resolve_model(model, models_dir=models_dir))


@lru_cache(maxsize=8)
def _folder_digest(folder: Path) -> str:
    names = sorted({path.name for pattern in _IDENTIFYING for path in folder.glob(pattern) if path.is_file()})
    files = {name: file_digest(folder / name) for name in names}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
