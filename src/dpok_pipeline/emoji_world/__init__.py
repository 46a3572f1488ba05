"""EmojiWorld: a small world of emoji scenes that has the paper's subjects.

`vocabulary` names what exists, `captions` says it in words, `scenes` places it, `renderer` draws
it, `pretraining` pairs pictures with captions that are sometimes wrong, and `scene_reader` and
`judge` read a picture back. The networks of the world are trained by the modules in `training`.
"""
