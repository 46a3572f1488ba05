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
MANIFEST = "_manifest.json"
_LONGEST_START = 300.0


class Worker:
    """A process of its own, in a session of its own; leaving the block ends it."""

    def __init__(self, kind: Kind, folder: Path, *options: str) -> None:
        """Start it.

        Args:
            kind: What runs.
            folder: The folder that it works in.
            options: Further arguments of the worker.
        """
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
        """Wait for the networks, and return the seconds that the start took.

        Raises:
            RuntimeError: The worker ended, or was not ready in time.
        """
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(_LONGEST_START):
                raise RuntimeError(f"the worker was not ready in {_LONGEST_START:g} s")
        if self.process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the worker did not start: {self.finish()[1][-2000:]}")
        return time.monotonic() - self.started

    def kill(self) -> None:
        """Send it `kill -9`, and wait until it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def sleep(self, seconds: float) -> bool:
        """Wait, and return whether the process is still running then."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def finish(self) -> tuple[int, str, dict[str, Any]]:
        """Wait for the end, and return exit status, what it said on stderr, and its report."""
        output, errors = self.process.communicate()
        lines = [line for line in output.decode().splitlines() if line.startswith("done ")]
        report = json.loads(lines[-1].removeprefix("done ")) if lines else {}
        return self.process.returncode, errors.decode(), report


def run_to_the_end(kind: Kind, folder: Path, *options: str) -> dict[str, Any]:
    """Do one uninterrupted run.

    Returns:
        Its report, with the seconds of the start as `start_seconds`.

    Raises:
        RuntimeError: The worker failed.
    """
    with Worker(kind, folder, *options) as worker:
        start_seconds = worker.wait_until_ready()
        status, errors, report = worker.finish()
    if status != 0:
        raise RuntimeError(f"{kind} ended with status {status}: {errors[-2000:]}")
    return {**report, "start_seconds": start_seconds}


def results(folder: Path) -> dict[str, str]:
    """Hash everything that a finished run leaves: the LoRA's weights or the shards."""
    paths = sorted(path for pattern in RESULTS for path in folder.glob(pattern))
    return {path.name: _sha256(path) for path in paths}


def whole_state(folder: Path) -> list[str]:
    """Name the checkpoints and shards in a work folder that are what their manifests say.

    They are read with nothing of the engine, so that a fault of its own checks cannot hide one.
    """
    checkpoints = [
        step.name
        for step in folder.glob("checkpoints/step-*")
        if (manifest := _read_manifest(step))["complete"]
        and all(_matches(step / name, entry) for name, entry in manifest["files"].items())
    ]
    # The manifest of a folder of shards is written anew with each of them, and complete at the end.
    shards = [
        Path(name).stem
        for name, entry in _read_manifest(folder)["files"].items()
        if _matches(folder / name, entry)
    ]
    return sorted(checkpoints + shards)


def listed_shards(folder: Path) -> list[str]:
    """Name the files of the shards that a folder's manifest lists."""
    return sorted(_read_manifest(folder)["files"])


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        return {"complete": False, "files": {}}
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return manifest


def _matches(path: Path, entry: dict[str, Any]) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == entry["bytes"]
        and _sha256(path) == entry["sha256"]
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
