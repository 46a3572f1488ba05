"""`python -m dpok_pipeline.emoji_world`: the steps of making the world that no pipeline does."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from dpok_pipeline.emoji_world.eye_labels import collect_samples
from dpok_pipeline.emoji_world.model_card import model_card
from dpok_pipeline.emoji_world.sprites import draw_sprites
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.checksums import write_sums

# The rater, which only labels what the reward learns from, stays where it was built.
NETWORKS = ("base_model", "clip", "judge", "image_reward", "aesthetic")


def adopt(built: Path, adopted: Path, parameters: Path) -> None:
    """Put what world_building made in the place of the old networks, with a new model card.

    Raises:
        InputError: If a part is missing; nothing has been copied then.
    """
    missing = [name for name in (*NETWORKS, "figures.json") if not (built / name).exists()]
    if missing:
        raise InputError(
            f"{built}: {', '.join(missing)} missing; `kedro run --pipelines world_building` first"
        )
    for name in NETWORKS:
        fresh = adopted / f"{name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(built / name, fresh)
        _forget_folders(fresh)
        write_sums(fresh)
        shutil.rmtree(adopted / name, ignore_errors=True)
        fresh.rename(adopted / name)
    figures = json.loads((built / "figures.json").read_text())
    (adopted / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    (adopted / "MODEL_CARD.md").write_text(model_card(figures, parameters.read_text()))


def _forget_folders(folder: Path) -> None:
    # diffusers and transformers write down where a network was loaded from, on this machine.
    for path in folder.rglob("config.json"):
        config = json.loads(path.read_text())
        if config.pop("_name_or_path", None):
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dpok_pipeline.emoji_world", description=__doc__
    )
    commands = parser.add_subparsers(dest="command", required=True)
    draw = commands.add_parser("draw-sprites", help="draw the sprites from the emoji font")
    draw.add_argument("font", type=Path, help="NotoColorEmoji.ttf")
    draw.add_argument("--folder", type=Path, default=Path("data/01_raw/emoji_world/sprites"))
    collect = commands.add_parser("collect-samples", help="lay out samples to label by eye")
    collect.add_argument("--evaluated", type=Path, default=Path("data/07_model_output"))
    collect.add_argument("--folder", type=Path, default=Path("data/01_raw/emoji_world/eye_labels"))
    collect.add_argument("--per-model", type=int, default=11, help="per experiment and model")
    take = commands.add_parser("adopt", help="take over what world_building made")
    take.add_argument("--built", type=Path, default=Path("data/06_models/world"))
    take.add_argument("--adopted", type=Path, default=Path("data/01_raw/emoji_world"))
    take.add_argument(
        "--parameters", type=Path, default=Path("conf/base/parameters_world_building.yml")
    )
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "draw-sprites":
            draw_sprites(chosen.font, chosen.folder)
        elif chosen.command == "collect-samples":
            count = collect_samples(chosen.evaluated, chosen.folder, chosen.per_model)
            print(f"{count} samples to label in {chosen.folder}")  # noqa: T201
        else:
            adopt(chosen.built, chosen.adopted, chosen.parameters)
    except (InputError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
