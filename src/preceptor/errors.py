"""The errors that preceptor raises on purpose; each message says what was wrong, with which value, and what to do.

Messages never contain clinical text: prompts, responses and comments are named by field and line, not quoted.
"""

from __future__ import annotations


class PreceptorError(Exception):
    """The root: anything a door may show to a person as one sentence."""

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.__class__.__name__


class InputError(PreceptorError):
    """A file, flag or value given by the caller is not usable."""


class ConfigError(PreceptorError):
    """A setting is missing, weak or contradicts another."""


class NotFoundError(PreceptorError):
    """The thing that was named does not exist, or is not visible to the caller."""


class ConflictError(PreceptorError):
    """The request contradicts what is already stored."""


class AccessError(PreceptorError):
    """The caller is known but may not do this."""


class ModelError(PreceptorError):
    """A model name cannot be resolved, or the files found are of another kind."""


class DataError(PreceptorError):
    """The data are well formed but cannot be trained or measured on."""


class StorageError(PreceptorError):
    """Writing failed, or what was stored is torn."""


class GateRefused(PreceptorError):
    """A gate was not passed; the message carries the reason."""


class RunCanceled(PreceptorError):
    """The run was asked to stop and did so at a safe point."""
