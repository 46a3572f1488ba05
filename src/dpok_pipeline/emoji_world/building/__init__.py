"""How each network of EmojiWorld is trained; one module a network, in the order of building.

`autoencoder` and `clip` need only scenes; `base_model` needs both; `readers` trains the rater and
the judge; `reward` needs the rater and samples of the base model; `aesthetic` needs the CLIP.
"""
