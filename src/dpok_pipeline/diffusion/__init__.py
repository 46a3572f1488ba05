"""The base model, its LoRA policy, and sampling from it.

Notation of tensor shapes, here, in `training` and in `algorithms`:

* `b` is a batch's rows, `n` a number of images, `steps` the DDIM steps of an image;
* `c, h, w` are a latent's channels, height and width, `H, W` an image's height and width;
* `tokens, dim` are the positions and the width of the text encoder's hidden states.
"""
