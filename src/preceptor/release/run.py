"""An evaluated policy and its report in; a candidate release, or a refusal with its reason, out."""

from __future__ import annotations

import json

from preceptor.artifacts.store import Artifact
from preceptor.db.engine import session_scope
from preceptor.errors import GateRefused, InputError, StorageError
from preceptor.gates import check_gates, refusal
from preceptor.release import registry
from preceptor.release.config import ReleaseConfig
from preceptor.release.switch import register_base, synchronize
from preceptor.stage import StageContext, StageResult


def run(config: ReleaseConfig, context: StageContext) -> StageResult:
    """Apply the gates and number the release.

    Raises:
        GateRefused: a gate was not passed; the release is registered as refused with that reason, unless it was active.
        InputError: the report is about another policy, or an artifact is of another kind.
    """
    policy = _open(context, config.policy, "policy")
    report_artifact = _open(context, config.report, "report")
    report = _read_report(report_artifact)
    if report.get("policy") != policy.id:
        raise InputError(f"Report {report_artifact.id} is not about {policy.id}. Evaluate this policy first.")
    gates = check_gates(report, config.gates)
    reason = refusal(gates)
    register_base(context.engine, context.settings, config.agent_name)
    with session_scope(context.engine) as session:
        release = registry.register(
            session,
            config.agent_name,
            model=policy.id,
            digest=policy.id.rpartition("-")[2],
            report=report_artifact.id,
            run_id=context.run_id,
            refusal=reason,
        )
    synchronize(context.engine, context.settings)
    context.progress(1, 1, {})
    named = f"{config.agent_name} version {release.version}"
    if release.state == "refused":
        raise GateRefused(f"{named} was refused: {release.reason}.")
    if reason is not None:  # it was active, so its state stays
        raise GateRefused(f"{named} stays {release.state}, but this report does not pass its gates: {reason}.")
    passed = sum(gate.passed for gate in gates)
    return StageResult(
        summary=f"Registered {named} as {release.state}: {passed} of {len(gates)} gates passed.",
        metrics={
            "decision": release.state,
            "release_id": release.release_id,
            "version": release.version,
            "gates": [gate.as_dict() for gate in gates],
        },
    )


def _open(context: StageContext, artifact_id: str, kind: str) -> Artifact:
    artifact = context.store.open(artifact_id, verify=True)
    if artifact.kind != kind:
        raise InputError(f"'{artifact_id}' is a {artifact.kind} artifact; a {kind} is wanted here.")
    return artifact


def _read_report(artifact: Artifact) -> dict[str, object]:
    try:
        report = json.loads((artifact.path / "report.json").read_text())
    except (OSError, ValueError) as error:
        raise StorageError(f"The report {artifact.id} cannot be read: {error}. Evaluate the policy again.") from error
    if not isinstance(report, dict):
        raise StorageError(f"The report {artifact.id} is not a JSON object. Evaluate the policy again.")
    return report
