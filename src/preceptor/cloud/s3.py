"""Inputs in, objects in S3 out, each with its SHA-256 beside it; and one archive back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from preceptor.cloud.aws import told
from preceptor.cloud.runner import Input
from preceptor.errors import NotFoundError, StorageError

Sent = Callable[[int], None]


def split_uri(uri: str) -> tuple[str, str]:
    """`s3://bucket/some/key` as its bucket and its key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def upload(client: Any, item: Input, uri: str, *, kms_key: str | None, sent: Sent) -> int:
    """Send the files of an input that are not there already; returns how many were sent.

    S3 checks each part against its SHA-256 on arrival, and the container checks an artifact's files again.
    """
    if item.path is None:
        return 0
    bucket, prefix = split_uri(uri)
    count = 0
    for name, digest in item.files.items():
        path = item.path / name if item.path.is_dir() else item.path
        size = path.stat().st_size
        if _is_there(client, bucket, prefix + name, digest, size):
            sent(size)
            continue
        extra: dict[str, Any] = {"Metadata": {"sha256": digest}, "ChecksumAlgorithm": "SHA256"}
        if kms_key is not None:
            extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
        with told(f"the upload of {name} to s3://{bucket}/{prefix}"):
            client.upload_file(str(path), bucket, prefix + name, ExtraArgs=extra, Callback=sent)
        count += 1
    return count


def download(client: Any, uri: str, target: Path, *, max_bytes: int, received: Sent) -> None:
    """Fetch one object.

    Raises:
        StorageError: it is larger than `max_bytes`. NotFoundError: it is not there.
    """
    bucket, key = split_uri(uri)
    with told(f"a look at {uri}"):
        size = int(client.head_object(Bucket=bucket, Key=key)["ContentLength"])
    if size > max_bytes:
        raise StorageError(
            f"{uri} has {size / 1e9:.1f} GB, more than {max_bytes / 1e9:.1f}. If that is right, give --max-gb."
        )
    with told(f"the download of {uri}"):
        client.download_file(bucket, key, str(target), Callback=received)


def size_of(item: Input) -> int:
    """Bytes of an input that lie here."""
    if item.path is None:
        return 0
    return sum((item.path / name if item.path.is_dir() else item.path).stat().st_size for name in item.files)


def _is_there(client: Any, bucket: str, key: str, digest: str, size: int) -> bool:
    try:
        with told(f"a look at s3://{bucket}/{key}"):
            found = client.head_object(Bucket=bucket, Key=key)
    except NotFoundError:
        return False
    return bool(found["ContentLength"] == size and found.get("Metadata", {}).get("sha256") == digest)
