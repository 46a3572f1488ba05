"""The paper's figures on EmojiWorld, made unit by unit; each unit's row of figures is in git."""
