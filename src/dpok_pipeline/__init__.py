"""DPOK: fine-tuning text-to-image diffusion models by reinforcement learning.

Importing the package imports none of the heavy libraries: torch, diffusers and MLflow are
loaded by the modules that use them.
"""

from __future__ import annotations

__version__ = "0.1.0"
