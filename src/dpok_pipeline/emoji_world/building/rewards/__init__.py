"""The training of EmojiWorld's reward model and aesthetic score."""
