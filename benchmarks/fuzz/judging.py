"""Says whether a command has answered a case as every command must."""

from __future__ import annotations

from benchmarks.fuzz.project import Outcome
from dpok_pipeline.commands.faults import FAULT

#: Seconds that checking may take, and letters that a clear line has.
LONGEST_CHECK = 10.0
SHORTEST = 20
TRACEBACK = "Traceback (most recent call last)"
# MLflow's tables are made once.
KEPT = ("mlflow.db", "mlartifacts")
#: How refusals begin that no check before the work can foresee: they depend on the rewards that
#: the samples get.
LATE = ("Error: sft: no sample's reward gives a weight above 0",)
# Files that a failure names.
MOST_NAMED = 5


def judge(outcome: Outcome, *, checked_only: bool = True) -> str | None:
    """Say what is wrong with how a command has ended; None if it is right.

    It works, or ends with status 1 and one clear line, and has written nothing then.

    Args:
        outcome: How it has ended.
        checked_only: Whether it was stopped where all is checked: only then is its time limited.
    """
    if outcome.failure:
        return f"ended by an error: {outcome.failure}"
    if TRACEBACK in outcome.output or FAULT in outcome.errors:
        return f"a traceback: {outcome.output[-2000:]}"
    if checked_only and outcome.seconds > LONGEST_CHECK:
        return f"checked for {outcome.seconds:.1f} s"
    return judge_refusal(outcome) if outcome.status else None


def judge_refusal(outcome: Outcome) -> str | None:
    """Say what is wrong with how a command has refused a case; None if it is right."""
    lines = [line for line in outcome.errors.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error: ")]
    written = [name for name in outcome.written if not name.startswith(KEPT)]
    if outcome.status != 1:
        return f"status {outcome.status}: {outcome.output[-500:]}"
    if len(errors) != 1 or lines[-1] != errors[0] or len(errors[0]) < SHORTEST:
        return f"no one clear line: {outcome.errors[-1000:]}"
    if written and not errors[0].startswith(LATE):
        return f"refused ({errors[0]}), but wrote {', '.join(written[:MOST_NAMED])}"
    return None
