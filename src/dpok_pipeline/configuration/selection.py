"""The experiments and methods of the environment in use, which pipelines are built for.

Kedro builds its pipelines without arguments, and before it reads any data. The configuration
loader is made for one environment and knows what that environment lists; it notes it here.
"""

from __future__ import annotations

from typing import NamedTuple

from dpok_pipeline.algorithms.methods import Method


class Selection(NamedTuple):
    """The experiments and methods that an environment lists.

    Attributes:
        experiments: Names of the sets of training prompts.
        methods: Methods that are trained for each of them, in the order in which they are shown.
        env: Name of the environment; None is Kedro's default.
    """

    experiments: tuple[str, ...] = ()
    methods: tuple[Method, ...] = ()
    env: str | None = None

    @property
    def env_option(self) -> str:
        """What a command that the user is told to give needs behind it; empty for the default."""
        return "" if self.env in (None, "local") else f" --env {self.env}"

    @property
    def offline(self) -> tuple[Method, ...]:
        """The methods that learn from the stored samples."""
        return tuple(method for method in self.methods if not method.online)

    @property
    def online(self) -> tuple[Method, ...]:
        """The methods that draw images while they train."""
        return tuple(method for method in self.methods if method.online)


_current = Selection()


def current() -> Selection:
    """Return the experiments and methods that pipelines are built for at present."""
    return _current


def select(selection: Selection) -> None:
    """Build pipelines for this selection from now on.

    Args:
        selection: Experiments and methods of the environment in use.
    """
    from kedro.framework.project import pipelines

    global _current  # noqa: PLW0603 - Kedro asks for pipelines without arguments
    has_other_nodes = _shape(selection) != _shape(_current)
    _current = selection
    if has_other_nodes:
        # Pipelines of another environment may have been built in this process already.
        pipelines.configure("dpok_pipeline.pipeline_registry")


def hand_over(selection: Selection) -> None:
    """Take another process's selection, in one that runs nodes and builds no pipelines."""
    global _current  # noqa: PLW0603 - as above
    _current = selection


def _shape(selection: Selection) -> tuple[object, ...]:
    """Return all of a selection that pipelines depend on; settings are read when nodes run."""
    methods = [(method.name, method.algorithm) for method in selection.methods]
    return selection.experiments, methods
