"""The base model, its LoRA policy, and sampling from it.

Notation of tensor shapes, here and in `training`:

* `b` rows, `n` images, `steps` DDIM steps, `c, h, w` a latent, `H, W` an image,
* `tokens, dim` the text encoder's hidden states.
"""
