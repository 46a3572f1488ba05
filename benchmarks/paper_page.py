"""`kedro paper`: our numbers beside the paper's, in the page that holds the latter."""

from __future__ import annotations

from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.utils import find_kedro_project

from dpok_pipeline.errors import InputError

PAGE = Path("docs", "stable_diffusion.md")


def fill_paper_page(env: str, preset: str) -> str:
    """Read the newest comparisons of an environment and put them into the page.

    Args:
        env: The environment.
        preset: What it was run with.

    Returns:
        The table as it now stands.

    Raises:
        InputError: There is no such preset, or nothing of it has been evaluated.
    """
    from benchmarks import paper_results

    if preset not in paper_results.PRESETS:
        known = ", ".join(paper_results.PRESETS)
        raise InputError(f"--preset {preset}: the paper has no numbers for it; there are {known}")
    names = {result.dataset for result in paper_results.RESULTS if result.preset == preset}
    with KedroSession.create(env=env, runtime_params={"preset": preset}) as session:
        catalog = session.load_context().catalog
        comparisons = {name: catalog.load(name) for name in names if catalog.exists(name)}
    ours = paper_results.our_numbers(preset, comparisons)
    if not ours:
        raise InputError(
            f"{', '.join(sorted(names))}: nothing of preset {preset} has been evaluated in env "
            f"{env}; run `kedro run --env {env} --params preset={preset}` first"
        )
    page = (find_kedro_project(Path.cwd()) or Path.cwd()) / PAGE
    filled = paper_results.fill_page(page.read_text(encoding="utf-8"), ours)
    page.write_text(filled, encoding="utf-8")
    return filled.partition(paper_results.BEGIN)[2].partition(paper_results.END)[0].strip()
