"""How EmojiWorld's reward models are trained."""
