"""`kedro sweep`: many settings of one method, each trained briefly and measured alike."""
