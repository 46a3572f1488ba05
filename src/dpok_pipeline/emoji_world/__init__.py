"""EmojiWorld: a small world of emoji scenes that has the paper's subjects.

`vocabulary` names what exists, `captions` says it in words, `scenes` places it, `renderer` draws it
with the pictures of `sprites`, and `scene_reader` and `judge` read a picture back. `building`
trains the networks of the world.
"""
