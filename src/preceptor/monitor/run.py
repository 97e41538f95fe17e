"""The live database in; alerts in their table and a snapshot file out."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import UTC, date, datetime
from typing import Any

from preceptor.db.engine import session_scope
from preceptor.files.atomic import write_atomic
from preceptor.monitor.alerts import find_alerts, sync_alerts
from preceptor.monitor.config import MonitorConfig
from preceptor.monitor.snapshot import Snapshot, take_snapshot
from preceptor.stage import StageContext, StageResult

SNAPSHOT_FILE = "monitor.json"


def run(config: MonitorConfig, context: StageContext) -> StageResult:
    """Measure, compare with what was, and keep the alerts table true.

    The snapshot replaces `<home>/monitor.json`; its numbers are this run's metrics.
    """
    now = datetime.now(UTC)
    with session_scope(context.engine) as session:
        snapshot = take_snapshot(session, config, now=now)
        findings = find_alerts(snapshot, config)
        opened, resolved = sync_alerts(session, findings, now=now)
    document = {"config": config.model_dump(), **_plain(dataclasses.asdict(snapshot))}
    document["alerts"] = [dataclasses.asdict(finding) for finding in findings]
    write_atomic(context.settings.home / SNAPSHOT_FILE, json.dumps(document, indent=2, allow_nan=False) + "\n")
    context.progress(1, 1, {})
    volume = snapshot.metrics.volume
    summary = (
        f"{volume.feedback} feedback and {volume.preferences} preferences from {volume.clinicians} clinicians; "
        f"{len(findings)} open alerts ({opened} new, {resolved} resolved)."
    )
    return StageResult(summary=summary, metrics=_flat(snapshot) | {"alerts": len(findings)})


def _flat(snapshot: Snapshot) -> dict[str, Any]:
    metrics = snapshot.metrics
    stars, comparisons = metrics.agreement.stars, metrics.agreement.comparisons
    flat: dict[str, Any] = {
        "volume/feedback": metrics.volume.feedback,
        "volume/preferences": metrics.volume.preferences,
        "volume/simulated": metrics.volume.simulated,
        "ratings/mean": metrics.ratings.mean.estimate,
        "ratings/n": metrics.ratings.n,
        "agreement/stars_percent": stars.percent.estimate,
        "agreement/stars_alpha": stars.alpha.estimate,
        "agreement/stars_ac": stars.ac.estimate,
        "agreement/comparisons_percent": comparisons.percent.estimate,
        "agreement/comparisons_alpha": comparisons.alpha.estimate,
        "reward/accuracy": metrics.reward.accuracy.estimate if metrics.reward else None,
        "policy/win_rate": metrics.policy.win_rate.estimate if metrics.policy else None,
        "policy/kl": metrics.policy.kl if metrics.policy else None,
        "drift/agent_psi": snapshot.agent_mix.psi,
        "drift/specialty_psi": snapshot.specialty_mix.psi,
        "drift/rating_log_e": snapshot.ratings.log_evidence,
    }
    return {name: _plain(value) for name, value in flat.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
