"""The device of a run is the CPU, or the GPU where there is one; asking for a GPU that is not there is an error."""

from __future__ import annotations

import pytest
import torch

from preceptor.errors import ConfigError
from preceptor.modeling.device import attention_for, choose_device


def test_auto_takes_the_gpu_of_this_processs_number_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda", 3)
    assert choose_device("cpu") == torch.device("cpu")


def test_a_gpu_that_is_not_there_is_an_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="use auto or cpu"):
        choose_device("cuda")


def test_the_fused_attention_is_used_off_the_cpu() -> None:
    assert attention_for(torch.device("cpu")) == "eager"
    assert attention_for(torch.device("cuda", 0)) == "sdpa"
