"""A clinician's or service's calls in, HTTP requests out: the demo uses the same door as everybody else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import httpx

from preceptor.errors import PreceptorError

API = "/api/v1/rlhf"
T = TypeVar("T")


class ApiError(PreceptorError):
    """The server refused a request of the demo."""


class ApiClient:
    """One account at the server. Every POST carries an idempotency key made from its content, so retries are safe."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=300.0)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a body and return the answer's.

        Raises:
            ApiError: the answer is a problem document.
        """
        key = hashlib.sha256(json.dumps([path, body], sort_keys=True).encode()).hexdigest()
        answer = self._http.post(path, json=body, headers={"Idempotency-Key": key})
        return _checked(path, answer)

    def get(self, path: str) -> dict[str, Any]:
        return _checked(path, self._http.get(path))

    def close(self) -> None:
        self._http.close()


def _checked(path: str, answer: httpx.Response) -> dict[str, Any]:
    if answer.is_success:
        found: dict[str, Any] = answer.json()
        return found
    try:
        problem = answer.json()
        said = problem.get("detail") or problem.get("title") or ""
        fields = ", ".join(error.get("pointer", "") for error in problem.get("errors", []))
    except ValueError:
        said, fields = "", ""
    raise ApiError(f"{path} answered {answer.status_code}: {said} {fields}".strip())


def in_parallel(calls: Sequence[Callable[[], T]], *, workers: int, progress: Callable[[int, int], None]) -> list[T]:
    """Make the calls with a few threads; results in order. The first error ends it."""
    results: list[T] = []
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(call) for call in calls]:
            results.append(future.result())
            progress(len(results), len(calls))
    return results
