"""Starting a worker, waiting for it, killing it, and comparing what it leaves."""

from __future__ import annotations

import hashlib
import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.stress.budgets import Kind

ROOT = Path(__file__).parents[2]
RESULTS = ("lora/pytorch_lora_weights.safetensors", "shard-*.parquet")
_LONGEST_START = 300.0


class Worker:
    """A process of its own, in a session of its own; leaving the block ends it."""

    def __init__(self, kind: Kind, folder: Path, *options: str) -> None:
        """Start it."""
        command = [sys.executable, "-m", "benchmarks.stress.worker", kind, str(folder), *options]
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        self.folder, self.started = folder, time.monotonic()
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._errors = b""

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait_until_ready(self) -> float:
        """Wait for the networks; returns the seconds that the start took."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(_LONGEST_START):
                raise RuntimeError(f"the worker was not ready in {_LONGEST_START:g} s")
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the worker did not start: {self.finish()[1][-2000:]}")
        return time.monotonic() - self.started

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def sleep(self, seconds: float) -> bool:
        """Wait; returns whether the process is still running then."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def finish(self) -> tuple[int, str, dict[str, Any]]:
        """Wait for the end: exit status, what it said on stderr, and its report."""
        output, errors = self.process.communicate()
        lines = [line for line in output.decode().splitlines() if line.startswith("done ")]
        report = json.loads(lines[-1].removeprefix("done ")) if lines else {}
        return self.process.returncode, errors.decode(), report


def run_to_the_end(kind: Kind, folder: Path, *options: str) -> dict[str, Any]:
    """One uninterrupted start; its report, with the seconds of the start as `start_seconds`."""
    with Worker(kind, folder, *options) as worker:
        start_seconds = worker.wait_until_ready()
        status, errors, report = worker.finish()
    if status != 0:
        raise RuntimeError(f"{kind} ended with status {status}: {errors[-2000:]}")
    return {**report, "start_seconds": start_seconds}


def results(folder: Path) -> dict[str, str]:
    """Sha256 of everything that a finished run leaves: the LoRA's weights or the shards."""
    found = sorted(path for pattern in RESULTS for path in folder.glob(pattern))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def whole_checkpoints(folder: Path) -> list[str]:
    """Names of the checkpoints and shards that are what their manifests say.

    Read with nothing of the engine, so that a fault of its own checks cannot hide one.
    """
    names = []
    for manifest in folder.glob("checkpoints/step-*/manifest.json"):
        listed = json.loads(manifest.read_text())
        if all(_matches(manifest.parent / name, entry) for name, entry in listed.items()):
            names.append(manifest.parent.name)
    for path in folder.glob("shard-*.json"):
        if _matches(path.with_suffix(".parquet"), json.loads(path.read_text())):
            names.append(path.stem)
    return sorted(names)


def _matches(path: Path, entry: dict[str, Any]) -> bool:
    content = path.read_bytes() if path.is_file() else b""
    return hashlib.sha256(content).hexdigest() == entry["sha256"]
