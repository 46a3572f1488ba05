"""Scorers, the functions of images and prompts that training maximises or evaluation reports."""
