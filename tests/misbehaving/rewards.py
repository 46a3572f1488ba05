"""Rewards that fail, leave, or touch what is not theirs."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings

import torch


class FailsToBegin:
    """Needs a file that is not there."""

    def __init__(self):
        with open("/no/such/file"):
            pass

    def score(self, images, prompts):
        """Never called."""
        return images.mean((1, 2, 3))


def divide(images, prompts):
    """Divides by zero."""
    return images.mean((1, 2, 3)) / (1 // 0)


def leave(images, prompts):
    """Ends the program, as if all were well."""
    sys.exit(0)


def abandon(images, prompts):
    """Raises what no `except Exception` catches."""
    raise GeneratorExit


class NoAnswer:
    """Fails when it is asked for anything."""

    def __getattr__(self, name):
        """Never returns."""
        raise RuntimeError(name)


class HalfNetwork(torch.nn.Module):
    """Does not let torch build it."""

    def __init__(self):
        pass

    def score(self, images, prompts):
        """Never called."""
        return images.mean((1, 2, 3))


def unsettle(images, prompts):
    """Changes what holds for the whole process."""
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.autocast("cpu", torch.bfloat16).__enter__()
    torch.set_float32_matmul_precision("medium")
    torch.use_deterministic_algorithms(True)
    torch.set_default_device("meta")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("error")
    logging.disable()
    os.chdir("/")
    sys.stdout = None
    return images.mean((1, 2, 3))


def starve(images, prompts):
    """Needs more memory than there is."""
    raise torch.OutOfMemoryError


def imaginary(images, prompts):
    """Returns complex numbers."""
    return images.mean((1, 2, 3)) * 1j


def too_many(images, prompts):
    """Returns a number more than there are images."""
    return torch.zeros(len(images) + 1)


def blacken(images, prompts):
    """Writes into the images that it is shown, and changes the list of prompts."""
    bright = images.mean((1, 2, 3))
    images.mul_(0)
    prompts.clear()
    return bright


def whiten(images, prompts):
    """Scales the images in place to 0 to 255."""
    images *= 255
    return images.mean((1, 2, 3))


class Refills:
    """Returns the same tensor at every call, filled anew."""

    def __init__(self):
        self.scores = torch.zeros(1)

    def score(self, images, prompts):
        """The brightness of one image."""
        self.scores.copy_(images.mean((1, 2, 3)))
        return self.scores


def infinite_for_some(images, prompts):
    """Infinite for bright images."""
    bright = images.mean((1, 2, 3))
    return torch.where(bright > bright.median(), torch.inf, bright)
