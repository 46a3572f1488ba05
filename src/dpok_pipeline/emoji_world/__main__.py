"""Run the steps of making EmojiWorld that no pipeline does."""

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
from dpok_pipeline.files.checksums import write_checksums

# The rater only labels what the reward learns from, and stays where it was built.
NETWORKS = ("base_model", "clip", "judge", "image_reward", "aesthetic")


def install(built: Path, installed: Path, parameters: Path) -> None:
    """Replace the installed networks by those that world_building made, with a new model card.

    Args:
        built: The folder that world_building wrote.
        installed: The folder of the networks in use.
        parameters: The YAML file with the parameters of world_building, for the card.

    Raises:
        InputError: A part is missing, and nothing has been copied.
    """
    missing = [name for name in (*NETWORKS, "figures.json") if not (built / name).exists()]
    if missing:
        raise InputError(
            f"{built}: {', '.join(missing)} missing; `kedro run --pipelines world_building` first"
        )
    for name in NETWORKS:
        copy = installed / f"{name}.new"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(built / name, copy)
        _remove_local_paths(copy)
        write_checksums(copy)
        shutil.rmtree(installed / name, ignore_errors=True)
        copy.rename(installed / name)
    figures = json.loads((built / "figures.json").read_text())
    (installed / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    (installed / "MODEL_CARD.md").write_text(model_card(figures, parameters.read_text()))


def _remove_local_paths(folder: Path) -> None:
    """Remove the paths on this machine that diffusers and transformers write into a network."""
    for path in folder.rglob("config.json"):
        config = json.loads(path.read_text())
        if config.pop("_name_or_path", None):
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
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
    collect.add_argument(
        "--per-method", type=int, default=11, help="samples per experiment and method"
    )
    installation = commands.add_parser("install", help="use the networks that world_building made")
    installation.add_argument("--built", type=Path, default=Path("data/06_models/world"))
    installation.add_argument("--into", type=Path, default=Path("data/01_raw/emoji_world"))
    installation.add_argument(
        "--parameters", type=Path, default=Path("conf/base/parameters_world_building.yml")
    )
    options = parser.parse_args(arguments)
    try:
        if options.command == "draw-sprites":
            draw_sprites(options.font, options.folder)
        elif options.command == "collect-samples":
            count = collect_samples(options.evaluated, options.folder, options.per_method)
            print(f"{count} samples to label in {options.folder}")  # noqa: T201
        else:
            install(options.built, options.into, options.parameters)
    except (InputError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
