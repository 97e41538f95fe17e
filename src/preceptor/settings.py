"""Environment variables in, one frozen Settings object out; doors build it once and pass it down."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from preceptor.errors import ConfigError

MINIMUM_SECRET_LENGTH = 32


class Settings(BaseSettings):
    """Everything that differs between one installation and another; each name is `PRECEPTOR_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="PRECEPTOR_", frozen=True, extra="ignore", populate_by_name=True)

    home: Path = Field(default=Path(".preceptor"), description="Folder for everything preceptor writes.")
    database_url: str | None = Field(
        default=None,
        validation_alias=AliasChoices("PRECEPTOR_DATABASE_URL", "DATABASE_URL", "database_url"),
        description="A PostgreSQL >= 14 address; the embedded PostgreSQL is used when it is absent.",
    )
    environment: Literal["development", "production"] = "development"
    secret_key: SecretStr | None = Field(
        default=None,
        description="Key of pseudonyms, record hashes and side order; made on first use in development.",
    )
    encryption_key: SecretStr | None = Field(
        default=None,
        description="Encrypts raw clinical text at rest; required in production. After a comma, older ones that open.",
    )
    host: str = "127.0.0.1"
    port: int = 8000
    policy_model: str = Field(default="gpt2", description="Base model that answers and is trained.")
    reward_model: str = Field(default="bert-base-uncased", description="Base model of the reward model.")
    retrain_threshold: int = Field(default=1000, ge=1, description="New eligible samples that start a round.")
    retrain_on_simulated: bool = Field(
        default=False, description="Whether judgements of simulated clinicians count toward a round and train it."
    )
    rate_limit_per_minute: int = Field(
        default=120, ge=0, description="Judgements that one account may give in a minute; 0 for any number."
    )
    keep_keys_days: int = Field(default=7, ge=1, description="Days for which an Idempotency-Key gives its answer.")
    keep_runs_days: int = Field(
        default=90, ge=1, description="Days for which logs, and runs outside rounds that made nothing, are kept."
    )
    upstream_url: str | None = Field(default=None, description="OpenAI-compatible server to answer from.")
    upstream_api_key: SecretStr | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @property
    def artifacts_dir(self) -> Path:
        return self.home / "artifacts"

    @property
    def models_dir(self) -> Path:
        return self.home / "models"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def deployments_file(self) -> Path:
        return self.home / "deployments.json"

    @property
    def encryption_secrets(self) -> tuple[str, ...]:
        """The secrets of `encryption_key`, which commas separate: the first one seals, all of them open."""
        given = self.encryption_key.get_secret_value() if self.encryption_key is not None else ""
        return tuple(secret.strip() for secret in given.split(",") if secret.strip())

    def secret(self) -> bytes:
        """The server secret: from the environment, or a file of mode 0600 made on first use in development."""
        if self.secret_key is not None:
            return self.secret_key.get_secret_value().encode()
        path = self.home / "secret.key"
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(secrets.token_urlsafe(48))
        except FileExistsError:
            pass
        return path.read_text().strip().encode()


def load_settings(**overrides: object) -> Settings:
    """Build the settings from the environment.

    Raises:
        ConfigError: a value is malformed, or production runs with a missing or short secret.
    """
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "PRECEPTOR_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigError(f"The setting {name} is not usable: {first['msg']}. Correct it and start again.") from None
    if settings.environment == "production":
        signing = settings.secret_key.get_secret_value() if settings.secret_key is not None else ""
        for name, given in (("secret_key", (signing,)), ("encryption_key", settings.encryption_secrets)):
            if not given or min(len(secret) for secret in given) < MINIMUM_SECRET_LENGTH:
                raise ConfigError(
                    f"PRECEPTOR_{name.upper()} is missing or shorter than {MINIMUM_SECRET_LENGTH} characters; "
                    "production does not start without it. Set it to a long random value."
                )
    return settings.model_copy(update={"home": settings.home.expanduser().resolve()})
