"""Compare base model, SFT and DPOK: scores, intervals, claims, figures, report.

Everything here takes plain frames and arrays. The `scores` frame that the modules share has one
row per image:

==============  ===================================================================================
column          meaning
==============  ===================================================================================
experiment      name of the set of training prompts, such as `color`
prompt_id       key of the prompt
prompt          its text
split           `train` or `unseen`
model           `base`, `sft` or `rl`
index           which noise the image began from; the three models share it
image_sha256    optional: of the image's PNG; embeddings are joined by it
training_seed   optional: which training run the model is from; absent means one
image_reward …  any further numeric column is a metric: `image_reward`, `aesthetic`, `judge` (0 or
                1), `saturation`, `kl` (NaN where not measured)
==============  ===================================================================================
"""
