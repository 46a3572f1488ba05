"""Processes that share a machine's cores: together they do more than one that has them all."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import torch


def share_cores(processes: int) -> ProcessPoolExecutor:
    """Make a pool of processes, each with its share of the cores as torch's threads."""
    return ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(max(1, (os.cpu_count() or 1) // processes),),
    )
