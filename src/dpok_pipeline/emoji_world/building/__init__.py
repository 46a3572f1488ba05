"""The training of EmojiWorld's networks, which nothing but the pipeline world_building uses.

`autoencoder` and `clip` need scenes only, and `base_model` needs both. `readers` trains the judge
and the rater on renders, and on what `redraw` makes of them with the base model. The folder
`rewards` trains the reward model, which needs the rater and samples of the base model, and the
aesthetic score, which needs the CLIP. `measure` measures all of them.
"""
