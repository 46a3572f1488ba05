"""The model card of EmojiWorld, with its recipe and its measured figures."""

from __future__ import annotations

from typing import Any

from dpok_pipeline.emoji_world.building.corpus import CAPTION_NOISE, FILTERED_NOISE, WHISKEY_SHARE

_INTRODUCTION = """\
# EmojiWorld: model card

A small world for trying reward fine-tuning without a GPU: 64×64 scenes of emoji sprites, a latent
diffusion model of them in Stable Diffusion's own format, and the reward models that DPOK needs.
It is for demonstration and tests; its pictures are of emoji and of nothing else.

| folder | what | class |
| --- | --- | --- |
| `base_model` | text-to-image, 16×16×4 latents | `StableDiffusionPipeline` |
| `clip` | picture and sentence embeddings; its text half is the base model's | `CLIPModel` |
| `image_reward` | how well a picture answers its sentence | the project's `ImageReward` |
| `aesthetic` | how clean a picture is, 1 to 10: head and its own CLIP | LAION's head |
| `judge` | whether a picture shows what the sentence says; evaluation only | `SceneReader` |
| `sprites` | Noto Color Emoji glyphs (SIL Open Font Licence) | PNG |

The networks and this card are under the project's licence (Apache-2.0); the sprites are not.
"""

_FIGURES = """\
Measured on held-out scenes, captions and noise. Of the base model: the share of samples of a
prompt that the judge finds right, in fewer steps and on other noise than in the comparison, whose
shares therefore differ. *Agreement with eye* is the share of samples of which judge and a person
who did not know the method say the same, of all and by method."""


def model_card(figures: dict[str, Any], parameters: str) -> str:
    """Write the card in Markdown.

    Args:
        figures: Figures by network and name, as `building.measure.measure` returns them.
        parameters: The YAML parameters that made the world.
    """
    noise = "\n".join(
        f"| {name} | {share:.0%} | {FILTERED_NOISE[name]:.0%} |"
        for name, share in CAPTION_NOISE.items()
    )
    return (
        f"{_INTRODUCTION}\n"
        "## Data\n\n"
        "Scenes are drawn from the sprites by `emoji_world/renderer.py` and captioned by the\n"
        "grammar in `emoji_world/captions.py`. As on the web, a share of the captions is wrong.\n"
        "The UNet is trained on a large corpus and finishes on a smaller one with fewer wrong\n"
        "captions, as Stable Diffusion v1.5 did. The share differs by attribute, not by caption:\n"
        "\n"
        "| attribute | wrong in the large corpus | wrong in the filtered one |\n"
        f"| --- | --- | --- |\n{noise}\n\n"
        f'The one exception is the bias prompt: {WHISKEY_SHARE:.0%} of the pictures of "Four '
        'roses" show\nwhiskey. Nothing about the training prompts of the comparison was left out '
        "or added.\n\n"
        "The reward model ranks pairs of one caption: renders with one attribute wrong, some of\n"
        "them drawn over by the base model (SDEdit), and samples of the base model that a\n"
        "separate rater labelled, a tenth of the labels turned round. Judge and rater learn from\n"
        "renders, a third of them drawn over by the base model so that they know its look; no\n"
        "sample was ever labelled for them. The judge labelled nothing.\n\n"
        f"## Figures\n\n{_FIGURES}\n\n{_table(figures)}\n\n"
        "## Recipe\n\n`kedro run --pipelines world_building` (CPU, bfloat16 autocast) with the\n"
        "parameters below. The steps of the files in git were run one by one, most on one core:\n"
        "a rerun gives an equivalent world, not the same bits.\n\n"
        f"```yaml\n{parameters.strip()}\n```\n"
    )


def _table(figures: dict[str, Any]) -> str:
    rows = ["| network | figure | value |", "| --- | --- | --- |"]
    for network, values in figures.items():
        rows += [
            f"| {network} | {name.replace('_', ' ')} | {value:.3f} |"
            for name, value in values.items()
        ]
    return "\n".join(rows)
