"""Proof that our ImageReward scores as the `image-reward` package does: `make parity`.

The package needs old releases of its dependencies, so it lives in an environment of its own and the
two meet through files: the same random weights at the published architecture, the same vocabulary,
images and prompts. Each scores the images as a user would, from PIL image and text to number.

Equal scores prove something only if the scores differ among themselves, and move when one word or
one image does: that is measured, too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

WEIGHTS, VOCABULARY, MED = "ImageReward.pt", "vocab.txt", "med_config.json"
BERT, PUBLISHED = "google-bert/bert-base-uncased", "THUDM/ImageReward"
TOLERANCE = 1e-4  # largest difference of two scores, in units of the published normalisation
LEAST_SPREAD = 1.0  # standard deviation of the scores
LEAST_MOVE = 0.05  # by one word, or by one image
SCALE = 1.5  # deviation of the random weights, times the root of the width they read
MODES = ("RGB", "RGB", "RGB", "L", "RGBA")
PROMPTS = (
    "A green colored rabbit.",
    "A cat and a dog.",
    "Four wolves in the park.",
    "A dog on the moon.",
    'a sign that says "Hello, World!", hand-painted',
    "an espresso machine; steampunk, 4k, f/1.8",
    "Salvador Dalí in a café at night",
    "42",
    "snow",
    "A storefront with 'Deep Learning' written on it.",
    "two pizza pies sitting atop a stove getting ready to be cut .",
    "A man-made waterfall, seen from below, at dawn",
    "the word that starts a very long caption about a small brown bird with a white belly and a "
    "short black beak, which sits on a branch above a lake and looks at a boat that passes by",
    "Otto von Bismarck-Schönhausen wearing a Pickelhaube",
    "a 東京 street in the rain",
    "a smiling face 🙂 on a balloon",
    "A CAR PLAYING SOCCER, DIGITAL ART",
    "colorless green ideas sleep furiously",
    "a photo of san francisco's golden gate bridge",
    "hyphen-ated under_scored e.g. words...",
)


def prepare(folder: Path, data: Path) -> None:
    """Write weights, vocabulary, images and the package's configuration into `folder`.

    Args:
        folder: The folder, which is made.
        data: Where the vocabulary and BLIP's configuration may lie; otherwise they come from the
            hub.
    """
    from tests.rewards.blip_reference import random_state

    from dpok_pipeline.files.hub import find_files
    from dpok_pipeline.rewards.image_reward import ImageRewardConfig

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = data / "tokenizers" / "bert-base-uncased" / VOCABULARY
    if not vocabulary.is_file():
        vocabulary = find_files(BERT, [VOCABULARY]) / VOCABULARY
    configuration = data / "configs" / MED
    if not configuration.is_file():
        configuration = find_files(PUBLISHED, [MED]) / MED
    # The package asks for `bert-base-uncased`: a folder of that name is taken before the hub.
    (folder / "bert-base-uncased").mkdir(exist_ok=True)
    shutil.copyfile(vocabulary, folder / "bert-base-uncased" / VOCABULARY)
    shutil.copyfile(vocabulary, folder / VOCABULARY)
    shutil.copyfile(configuration, folder / MED)
    for index in range(len(PROMPTS)):
        random_image(index).save(folder / f"{index:02d}.png")
    shutil.rmtree(folder / Path(WEIGHTS).stem, ignore_errors=True)
    torch.save(make_sensitive(random_state(ImageRewardConfig(), SCALE)), folder / WEIGHTS)


def make_sensitive(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Scale random weights so that at full size, too, the scores depend on what is scored.

    Normalisations are near one, as trained ones are, and words lie far apart; otherwise attention
    is flat and 36 layers forget what they read. The text attends to itself more than to the image,
    because the image would drown the words.

    Args:
        state: The random weights, which are changed in place.

    Returns:
        The same weights.
    """
    factors = {
        ".attention.self.query.": 0.7,
        ".attention.self.key.": 0.7,
        ".attention.self.value.": 3,
        ".attention.output.dense.": 3,
        ".crossattention.self.value.": 0.5,
        ".crossattention.output.dense.": 0.5,
        ".word_embeddings.": state["blip.text_encoder.embeddings.word_embeddings.weight"].shape[-1]
        ** 0.5,
    }
    for name, tensor in state.items():
        if "norm" in name.lower() and name.endswith("weight"):
            tensor.add_(1)
        for part, factor in factors.items():
            if part in name:
                tensor.mul_(factor)
    return state


def random_image(index: int) -> Image.Image:
    """Draw a smooth picture with some noise, of an odd size; all of it follows from `index`."""
    rng = np.random.default_rng(index)
    width, height = (2 * int(side) + 1 for side in rng.integers(60, 340, 2))
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    noisy = np.clip(smooth + rng.normal(0, 25, smooth.shape), 0, 255).astype(np.uint8)
    return Image.fromarray(noisy).convert(MODES[index % len(MODES)])


def pictures(folder: Path) -> list[Image.Image]:
    """Open the images, in their own modes and sizes."""
    return [Image.open(folder / f"{index:02d}.png") for index in range(len(PROMPTS))]


def environment() -> dict[str, str]:
    """Name the releases of what can move a score."""
    names = ("torch", "transformers", "pillow", "tokenizers")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def score_by_package(folder: Path) -> dict[str, Any]:
    """Score by the published package, one image at a time, as its `score` does."""
    os.chdir(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import ImageReward

    with contextlib.redirect_stdout(None):
        model = ImageReward.load(WEIGHTS, device="cpu", med_config=MED)
    with torch.no_grad():
        pairs = zip(PROMPTS, pictures(Path()), strict=True)
        scores = [model.score(prompt, image) for prompt, image in pairs]
    packages = ("image-reward", "timm", "torchvision", "fairscale", "openai-clip")
    releases = environment() | {name: version(name) for name in packages}
    return {"environment": releases, "scores": scores}


@torch.no_grad()
def score_by_us(folder: Path) -> dict[str, Any]:
    """Score by this project's class."""
    from dpok_pipeline.rewards.published import load_published

    scores = load_published(folder / WEIGHTS).score(pictures(folder), PROMPTS)
    return {"environment": environment(), "scores": scores.tolist()}


@torch.no_grad()
def measure_changes(folder: Path) -> dict[str, Any]:
    """Measure what one word, another image, or tensors instead of PIL images change."""
    from dpok_pipeline.rewards.preprocessing import CLIP_STD, pixels_from_pil, pixels_from_tensor
    from dpok_pipeline.rewards.published import load_published

    model = load_published(folder / WEIGHTS)
    images, prompts = pictures(folder), list(PROMPTS)
    scores = torch.tensor(json.loads((folder / "ours.json").read_text())["scores"])
    reworded = [" ".join(["zebra", *prompt.split()[1:]]) for prompt in prompts]
    by_word = (model.score(images, reworded) - scores).abs()
    by_image = (model.score(images[1:] + images[:1], prompts) - scores).abs()
    size, deviation = model.config.image_size, torch.tensor(CLIP_STD).view(1, 3, 1, 1)
    level_changes, score_changes = [], []
    for image, prompt, score in zip(images, prompts, scores, strict=True):
        array = torch.from_numpy(np.array(image.convert("RGB")))  # (H, W, 3)
        tensor = array.permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
        pixels = pixels_from_tensor(tensor, size) - pixels_from_pil([image.convert("RGB")], size)
        # The preprocessed pixels are in standard deviations; grey levels are easier to judge.
        level_changes.append((pixels * deviation * 255).abs().flatten())
        score_changes.append((model.score(tensor, [prompt])[0] - score).abs().item())
    levels = torch.cat(level_changes)
    return {
        "least_move_by_one_word": by_word.min().item(),
        "least_move_by_another_image": by_image.min().item(),
        "tensors_against_pil": {
            "grey_levels_mean": levels.mean().item(),
            "grey_levels_largest": levels.max().item(),
            "score_mean": statistics.fmean(score_changes),
            "score_largest": max(score_changes),
        },
    }


def compare(folder: Path) -> dict[str, Any]:
    """Put the three runs side by side, and say whether they prove that the scores are equal."""
    package, ours, ours_there, changes = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("package", "ours", "ours_there", "changes")
    )
    spread = statistics.stdev(package["scores"])
    result: dict[str, Any] = {
        "command": "make parity",
        "images": len(PROMPTS),
        "tolerance": TOLERANCE,
        "score_standard_deviation": spread,
        **changes,
        "package": package,
        "ours": ours,
        "ours_in_the_packages_environment": ours_there,
    }
    moves = (changes["least_move_by_one_word"], changes["least_move_by_another_image"])
    proven = spread >= LEAST_SPREAD and min(moves) > LEAST_MOVE
    for run in (ours, ours_there):
        pairs = zip(package["scores"], run["scores"], strict=True)
        differences = [abs(one - other) for one, other in pairs]
        run["largest_difference"] = max(differences)
        run["within_tolerance"] = sum(value <= TOLERANCE for value in differences)
        proven &= run["within_tolerance"] == len(PROMPTS)
    return {"proven": proven, **result}


#: What each step writes into its file, `{step}.json`.
STEPS = {
    "package": score_by_package,
    "ours": score_by_us,
    "ours_there": score_by_us,
    "changes": measure_changes,
}


def main() -> None:
    """Do one step; the Makefile puts them in order."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("step", choices=("prepare", *STEPS, "compare"))
    parser.add_argument("folder", type=Path, help="where the steps meet")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="see prepare")
    parser.add_argument("--result", type=Path, help="where compare writes the table")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.step == "prepare":
        prepare(folder, arguments.data)
    elif arguments.step == "compare":
        result = compare(folder)
        arguments.result.parent.mkdir(parents=True, exist_ok=True)
        arguments.result.write_text(json.dumps(result, indent=2) + "\n")
        for name in ("ours", "ours_in_the_packages_environment"):
            run = result[name]
            print(
                f"{name}: {run['within_tolerance']} of {len(PROMPTS)} within {TOLERANCE:g}, "
                f"largest difference {run['largest_difference']:.1e}"
            )
        if not result["proven"]:
            raise SystemExit(f"not proven; see {arguments.result}")
    else:
        (folder / f"{arguments.step}.json").write_text(json.dumps(STEPS[arguments.step](folder)))


if __name__ == "__main__":
    main()
