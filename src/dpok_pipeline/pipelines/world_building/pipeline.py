"""Make the networks of EmojiWorld from the sprites.

The autoencoder and the CLIP come first, then the base model, which needs both. Judge and rater need
the base model, and the reward model needs the rater. The aesthetic score needs the CLIP only.

The pipeline runs by name only (`kedro run --pipelines world_building`) and takes hours on two
cores. Its networks lie in data/06_models/world until `python -m dpok_pipeline.emoji_world install`
puts them into data/01_raw/emoji_world.
"""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from dpok_pipeline.pipelines.world_building import nodes


def create_pipeline() -> Pipeline:
    """Create the pipeline, in the namespace `world`."""
    world = "params:world"
    return Pipeline(
        [
            Node(
                nodes.build_autoencoder,
                inputs=world,
                outputs="autoencoder",
                name="build_autoencoder_node",
            ),
            Node(nodes.build_clip, inputs=world, outputs="clip", name="build_clip_node"),
            Node(
                nodes.build_base_model,
                inputs=[world, "autoencoder", "clip"],
                outputs="base_model",
                name="build_base_model_node",
            ),
            Node(nodes.build_judge, [world, "base_model"], "judge", name="build_judge_node"),
            Node(nodes.build_rater, [world, "base_model"], "rater", name="build_rater_node"),
            Node(
                nodes.build_reward,
                inputs=[world, "clip", "base_model", "rater"],
                outputs="image_reward",
                name="build_reward_node",
            ),
            Node(
                nodes.build_aesthetic,
                inputs=[world, "clip"],
                outputs="aesthetic",
                name="build_aesthetic_node",
            ),
            Node(
                nodes.measure_world,
                inputs=[
                    world,
                    "autoencoder",
                    "clip",
                    "base_model",
                    "judge",
                    "rater",
                    "image_reward",
                    "aesthetic",
                ],
                outputs="figures",
                name="measure_world_node",
            ),
        ],
        namespace="world",
        parameters={world},
    )
