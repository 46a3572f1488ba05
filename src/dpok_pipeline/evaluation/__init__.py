"""Compare any number of methods: images, scores, intervals, claims.

Everything here takes plain frames and arrays. The `scores` frame that the modules share has one
row per image:

==============  ===================================================================================
column          meaning
==============  ===================================================================================
experiment      name of the set of training prompts, such as `color`
prompt_id       key of the prompt
prompt          its text
split           `train` or `unseen`
method          `base` for the base model, else the configured name of what trained the LoRA
index           which noise the image began from; all methods share it
image_sha256    optional: of the image's PNG; embeddings are joined by it
recipe          optional: hash of all that methods must share to be compared, see `drawing`
training_seed   optional: which training run the method is from; absent means one
image_reward …  any further numeric column is a metric: `image_reward`, `aesthetic`, `judge` (0 or
                1), `saturation`, `kl` (NaN where not measured)
==============  ===================================================================================
"""
