"""What a run on Stable Diffusion v1.5 would take on 1 to 64 GPUs: a model, not a measurement."""
