"""Measure what rounding does to the clip: `python -m benchmarks.rounding --env base`.

After the first update of DPOK, a row whose log-ratio is outside the clip's band in the number type
that is trained in, and inside it in float32, has lost its gradient to rounding. The share of such
rows is printed for each number type, over all rows that updates may take.

Stable Diffusion's latents have 16,384 values. EmojiWorld's networks are convolutional, so that they
can stand in for it at that size, with the paper's numbers:

    python -m benchmarks.rounding --env paper --side 64 --images 4 --params \
    base_model=data/01_raw/emoji_world/base_model,image_reward=data/01_raw/emoji_world/image_reward
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import PROMPT
from benchmarks.configured import Configured, read
from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.dpok.ratio_guard import rounded_share
from dpok_pipeline.algorithms.dpok.train import DPOKLearner
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.diffusion.base_model import DiffusionModel, load_base_model
from dpok_pipeline.diffusion.config import Precision, SamplingConfig
from dpok_pipeline.diffusion.lora import attached_lora, copy_weights
from dpok_pipeline.diffusion.noise import derive_seed
from dpok_pipeline.rewards.scorer import Scorer

PRECISIONS: tuple[Precision, ...] = ("bfloat16", "float16")
#: Side of Stable Diffusion's latents at 512 pixels.
SIDE = 64
#: Share of rows outside by rounding that costs a training next to nothing.
MOST_RIGHT = 0.05


class Brightness:
    """A reward that needs no network: rounding is not a matter of what is maximised."""

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Return the mean of each image `(b, 3, h, w)`, `(b,)`."""
        return images.mean((1, 2, 3))


def measure_share(
    model: DiffusionModel,
    reward: Scorer,
    method: Method,
    sampling: SamplingConfig,
    *,
    prompt: str = PROMPT,
    seed: int = 0,
    rows: int | None = None,
) -> float:
    """Draw a rollout, update once, and return the share of rows that rounding puts outside.

    Args:
        model: The base model in the number type in question.
        reward: Scores the rollout.
        method: A method of the algorithm DPOK.
        sampling: Steps, η and guidance.
        prompt: The training prompt.
        seed: Seed of rollout and rows.
        rows: Number of rows that are looked at; None means all that updates may take.
    """
    config = method.training.model_copy(update={"seed": seed})
    if not isinstance(config, DPOKConfig):
        raise SystemExit(f"{method.name}: only methods of the algorithm dpok have a ratio")
    with attached_lora(model.unet, method.lora, derive_seed(seed, "lora")):
        learner = DPOKLearner(
            model, [prompt], reward, sampling=sampling, config=config, measures={}
        )
        learner.ratio_guard.moved_is_due = False  # what it would refuse is measured here
        before = copy_weights(learner.optimiser.parameters)
        rollout = learner.rollouts.draw(0)
        if rollout.scores is None:
            raise SystemExit("the reward gave no score")
        learner.buffer.add(rollout.samples, rollout.scores.rewards, rollout.prompts)
        learner.advantages.measure(learner.buffer)
        generator = torch.Generator().manual_seed(seed)
        draw = learner.buffer.draw
        taken = learner.draw_rows(0)[0]
        looked_at = draw(rows or len(learner.buffer), generator, config.last_steps_left_out)
        if learner.old_policies is not None:
            learner.old_policies.remember(learner.buffer.newest_slot)
            learner.old_policies.recompute(learner.buffer, torch.cat([taken, looked_at]))
        learner.policy.update(learner.buffer, taken, learner.advantages)
        return rounded_share(learner.policy, learner.buffer, looked_at, before)


def check_configured(seed: int) -> dict[str, Any]:
    """Measure the number types that environments train in; the most that is right is 5 % of rows.

    Args:
        seed: Training seed.

    Returns:
        The shares by environment and number type, and whether all are right.
    """
    world = "data/01_raw/emoji_world"
    places = f"base_model={world}/base_model,image_reward={world}/image_reward"
    shares = {}
    for env, params, precision, side, images in (
        ("base", "", "bfloat16", None, None),
        ("smoke", "", "bfloat16", None, None),
        ("paper", places, "float16", SIDE, 4),  # on a GPU, which env paper is for
    ):
        configured = read(env, params)
        method = with_images(configured.method("dpok"), images)
        share = _share(configured, method, precision, side, seed)
        shares[f"{env} {precision}"] = round(share, 4)
    return {"shares": shares, "passed": max(shares.values()) <= MOST_RIGHT}


def with_images(method: Method, images: int | None) -> Method:
    """Give a method another number of images per rollout; None leaves it as it is."""
    if images is None:
        return method
    changes = {"images_per_iteration": images, "rollout_batch": images}
    return method.model_copy(update={"training": method.training.model_copy(update=changes)})


def main() -> None:
    """Print the shares of an environment's method."""
    arguments = parse()
    configured = read(arguments.env, arguments.params)
    method = with_images(configured.method(arguments.method), arguments.images)
    for precision in arguments.precision:
        shares = [
            _share(configured, method, precision, arguments.side, seed)
            for seed in range(arguments.seeds)
        ]
        listed = ", ".join(f"{share:.1%}" for share in shares)
        print(f"{arguments.env} {method.name} {precision}: {listed} of the rows", flush=True)


def _share(
    configured: Configured, method: Method, precision: Precision, side: int | None, seed: int
) -> float:
    device = configured.compute.torch_device()
    model = load_base_model(configured.base_model, device, precision)
    if side is not None:
        model.unet.register_to_config(sample_size=side)
    return measure_share(model, Brightness(), method, configured.sampling, seed=seed)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rounding", description=__doc__)
    parser.add_argument("--env", default="base", help="environment in conf")
    parser.add_argument("--params", default="", help="as for `kedro run`")
    parser.add_argument("--method", default="dpok", help="method of the environment")
    parser.add_argument("--side", type=int, help="side of the latents; the model's own otherwise")
    parser.add_argument("--images", type=int, help="images of the rollout; the method's otherwise")
    parser.add_argument("--seeds", type=int, default=1, help="number of training seeds")
    parser.add_argument(
        "--precision", nargs="+", default=PRECISIONS, help="number types to measure"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
