"""Keeps the progress bars and load notices of transformers off a person's terminal while a model is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Only errors are shown inside the block; the previous settings come back after it."""
    from transformers import modeling_gguf_pytorch_utils as gguf  # its bar does not heed the switch below
    from transformers.utils import logging as transformers_logging

    bar_of_gguf = gguf.tqdm
    gguf.tqdm = partial(bar_of_gguf, disable=True)
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        gguf.tqdm = bar_of_gguf
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
