"""Names of AWS services in, boto3 clients out, and what AWS refuses as one sentence of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from preceptor.cloud.runner import BackendBusy
from preceptor.errors import AccessError, ConfigError, ConflictError, InputError, NotFoundError, PreceptorError

_BUSY = {
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException"),
    *("SlowDown", "ServiceUnavailable", "InternalFailure", "InternalError", "RequestTimeout", "503", "500"),
}
_DENIED = {
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "403",
    "ExpiredToken",
    "InvalidClientTokenId",
}
_TAKEN = {"ResourceInUse", "ResourceInUseException"}
_FULL = {"ResourceLimitExceeded"}
_ABSENT = {"404", "NoSuchKey", "NoSuchBucket", "ResourceNotFound", "ResourceNotFoundException"}


def make_client(service: str, region: str | None) -> Any:
    """A boto3 client that tries a throttled request again by itself, a few times.

    Raises:
        ConfigError: boto3 is not installed, or no region is set.
    """
    try:
        import boto3
        from botocore.config import Config
    except ModuleNotFoundError:
        raise ConfigError(
            "SageMaker needs boto3, which is not installed. Run `pip install 'preceptor[cloud]'` and try again."
        ) from None
    with told(f"reaching {service}"):
        retries = {"mode": "standard", "total_max_attempts": 8}
        return boto3.client(service, region_name=region, config=Config(retries=retries))


@contextmanager
def told(action: str) -> Iterator[None]:
    """Turn what boto3 raises inside into one of our errors; `action` completes "AWS refused ...".

    Raises:
        BackendBusy: throttled or not reachable now. AccessError, ConfigError, ConflictError, InputError, NotFoundError.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,
        HTTPClientError,
        NoCredentialsError,
        NoRegionError,
        ParamValidationError,
        PartialCredentialsError,
    )

    try:
        yield
    except ClientError as error:
        raise _of_code(action, error.response.get("Error", {})) from None
    except Boto3Error as error:  # of a transfer, around what S3 answered
        answer = getattr(error.__context__, "response", {})
        raise _of_code(action, answer.get("Error", {"Message": str(error)})) from None
    except ParamValidationError as error:
        raise InputError(f"AWS takes no such request for {action}: {' '.join(str(error).split())}") from None
    except (NoCredentialsError, PartialCredentialsError):
        raise ConfigError(
            "No AWS credentials were found. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY."
        ) from None
    except NoRegionError:
        raise ConfigError("No AWS region is set. Give --region, or set AWS_DEFAULT_REGION.") from None
    except (ConnectionError, HTTPClientError) as error:
        raise BackendBusy(f"AWS does not answer ({type(error).__name__}). Check the network and try again.") from None
    except BotoCoreError as error:
        raise ConfigError(f"boto3 cannot go on with {action}: {error}") from None


def _of_code(action: str, error: dict[str, Any]) -> PreceptorError:
    code, said = str(error.get("Code", "unknown")), str(error.get("Message", "")).strip()
    sentence = f"AWS refused {action} ({code}): {said}"
    if code in _BUSY:
        return BackendBusy(f"{sentence} Try again later.")
    if code in _DENIED:
        return AccessError(f"{sentence} docs/cloud.md lists the permissions that are needed.")
    if code in _TAKEN:
        return ConflictError(
            f"{sentence} The same job is there already: watch it, or give --job-name to start another."
        )
    if code in _FULL:
        return ConflictError(f"{sentence} Ask AWS for a higher quota, or choose another --instance-type.")
    if code in _ABSENT or "not found" in said.lower() or "could not be found" in said.lower():
        return NotFoundError(f"{sentence} Check the name and the region.")
    return InputError(sentence)
