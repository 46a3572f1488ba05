"""Put our numbers beside the paper's: `python -m benchmarks.paper_page --preset official_code`.

The page is docs/stable_diffusion.md. What its table holds of other presets stays.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.utils import find_kedro_project

from benchmarks import paper_results
from dpok_pipeline.commands.errors import one_line_errors
from dpok_pipeline.errors import InputError
from dpok_pipeline.lineage.records import read_record

PAGE = Path("docs", "stable_diffusion.md")
#: The preset of runs that name none, see conf/paper/experiments.yml.
DEFAULT = "official_code"


def fill_paper_page(project: Path, env: str, preset: str) -> str:
    """Read the newest comparisons of an environment and put them into the page.

    Args:
        project: The project's folder.
        env: The environment.
        preset: The preset that it was run with.

    Returns:
        The table as it now stands.

    Raises:
        InputError: There is no such preset, nothing of it has been evaluated, or what has been was
            of another preset.
    """
    if preset not in paper_results.PRESETS:
        known = ", ".join(paper_results.PRESETS)
        raise InputError(f"--preset {preset}: the paper has no numbers for it; there are {known}")
    names = {result.dataset for result in paper_results.RESULTS if result.preset == preset}
    bootstrap_project(project)
    parameters = {"preset": preset}
    with KedroSession.create(project, env=env, runtime_params=parameters) as session:
        catalog = session.load_context().catalog
        known = sorted(name for name in names if catalog.exists(name))
        for name in known:
            _check_preset(name, Path(catalog.get(name)._get_load_path()).parent, preset)
        comparisons = {name: catalog.load(name) for name in known}
    numbers = paper_results.our_numbers(preset, comparisons)
    if not numbers:
        raise InputError(
            f"{', '.join(sorted(names))}: nothing of preset {preset} has been evaluated in env "
            f"{env}; run `kedro run --env {env} --params preset={preset}` first"
        )
    page = project / PAGE
    filled = paper_results.fill_page(page.read_text(encoding="utf-8"), numbers)
    page.write_text(filled, encoding="utf-8")
    return filled.partition(paper_results.BEGIN)[2].partition(paper_results.END)[0].strip()


def _check_preset(name: str, folder: Path, preset: str) -> None:
    """Refuse a comparison of another preset: presets of the same prompts share their datasets."""
    record = read_record(folder)
    made = preset if record is None else record.command.parameters.get("preset", DEFAULT)
    if made != preset:
        other = f"give `--preset {made}`, or " if made in paper_results.PRESETS else ""
        raise InputError(f"{name}: the newest one is of preset {made}; {other}run {preset} again")


def main() -> None:
    """Fill the page of the project in the current folder, and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_page", description=__doc__)
    parser.add_argument("--env", default="paper", help="environment that was run; paper otherwise")
    parser.add_argument(
        "--preset",
        default=DEFAULT,
        help=f"preset that it was run with: {', '.join(paper_results.PRESETS)}; {DEFAULT} "
        "otherwise",
    )
    arguments = parser.parse_args()
    project = Path(find_kedro_project(Path.cwd()) or Path.cwd())
    with one_line_errors():
        print(fill_paper_page(project, arguments.env, arguments.preset))


if __name__ == "__main__":
    main()
