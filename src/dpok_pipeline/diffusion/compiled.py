"""Compiled networks: whether they can be had here, and the one graph that a policy goes through.

A compiled graph rounds otherwise than the eager network, and the graph of a forward pass that keeps
what its backward pass needs rounds otherwise than the one that does not. In bfloat16 this moves the
averaged log-ratio of weights that have not changed by about 1e-3, as much as a clip's whole band.
So a compiled policy is always run through the graph that its updates use, in rollouts as well: its
log-probabilities then come out bit for bit as the updates compute them, in a batch of any size.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dpok_pipeline.diffusion.lora import lora_parameters, policy_is_on
from dpok_pipeline.errors import InputError
from dpok_pipeline.files.networks import reason_of

if TYPE_CHECKING:
    from dpok_pipeline.diffusion.base_model import DiffusionModel

logger = logging.getLogger(__name__)

# The largest error that is accepted, as a share of the eager gradient's norm. Right kernels are off
# by less than a hundredth, in half precision, too.
_LARGEST_ERROR = 0.1

# From so many rows on diffusers' upsampling takes another path, and a network needs another graph.
_FEWEST_ROWS = 64

# Graphs of one network in a process: with and without gradients, with a LoRA, without one, and
# with one that is off, each for batches of one row and of more. Above its limit torch goes on
# eagerly without a word.
_MOST_GRAPHS = 64


@lru_cache(maxsize=1)
def compiler_works() -> bool:
    """Return whether torch can compile for this CPU, by compiling a small function; tried once.

    A compiler alone is not enough: Python's headers are needed as well.
    """
    try:
        torch.compile(lambda value: value.sin() + 1)(torch.ones(8))
    except Exception as error:  # the library raises many kinds, by what is missing
        logger.warning(
            "compute.compile: torch cannot compile here (%s); the networks run eagerly, at about "
            "four fifths of the speed. Install g++ and Python's headers, or set it to false to no "
            "longer be told",
            reason_of(error),
        )
        return False
    return True


def compile_unet(unet: Any) -> None:
    """Compile a UNet in place: the module stays the one that LoRA layers are injected into.

    Nothing is compiled before the first call.
    """
    logger.info(
        "compute.compile: the first images of each kind wait a minute or two for the compiler; "
        "torch keeps what it made for later runs"
    )
    # diffusers asks for torch's version in its forward pass, which a graph can do without.
    warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, _MOST_GRAPHS)
    # torch 2.13 orders kernels so that less memory is needed, and gets it wrong for EmojiWorld's
    # UNet in bfloat16: all gradients come out as 0. `check_gradients` watches for the next such.
    torch._inductor.config.reorder_for_peak_memory = False
    unet.compile()


def filled_up(*inputs: Tensor) -> list[Tensor]:
    """Repeat the last row of small batches on a CPU, so that one graph serves batches of any size.

    Compiling a further graph takes a minute, the rows that are thrown away a fraction of a second.
    On a GPU batches of large models may all be small, and stay as they are.

    Args:
        inputs: A UNet's inputs, of which the first dimension is the batch.

    Returns:
        The inputs with at least `_FEWEST_ROWS` rows; the first ones are those that were given.
    """
    missing = _FEWEST_ROWS - len(inputs[0])
    if missing <= 0 or inputs[0].device.type != "cpu":
        return list(inputs)
    return [
        torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) for tensor in inputs
    ]


@contextmanager
def training_graph(unet: Any, *inputs: Tensor) -> Iterator[None]:
    """Run a compiled UNet through the graph of its updates, where it has a policy.

    Args:
        unet: The compiled UNet.
        inputs: Its inputs, of which the first dimension is the batch.
    """
    for tensor in inputs:
        # From the first call on, so that no graph is made for one size of batch alone.
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
    with torch.set_grad_enabled(torch.is_grad_enabled() or policy_is_on(unet)):
        yield


def check_gradients(model: DiffusionModel) -> None:
    """Compare the LoRA's compiled gradient with the eager one, before anything is learned by it.

    torch 2.13 compiles the backward pass of some networks in bfloat16 on a CPU so that every
    gradient is 0, without a word: the run would go on to its end and learn nothing.

    Args:
        model: The base model, compiled, with its LoRA attached.

    Raises:
        InputError: They differ by more than rounding can explain.
    """
    with torch.compiler.set_stance("force_eager"):
        expected = _gradient(model)
    error = float((_gradient(model) - expected).norm() / expected.norm())
    if not error <= _LARGEST_ERROR:  # NaN is no small error
        raise InputError(
            f"compute.compile: torch compiles this network's backward pass wrongly here (the "
            f"LoRA's gradient is off by {error:.0%} of its norm in {model.precision}); set it to "
            "false"
        )


def _gradient(model: DiffusionModel) -> Tensor:
    """Return the gradient of two rows' mean squared output, all of the LoRA's in one vector."""
    from dpok_pipeline.diffusion.prompt_encoder import encode

    parameters = lora_parameters(model.unet)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((2, *model.latent_shape), generator=generator).to(model.device)
    times = torch.tensor([1, model.scheduler.config.num_train_timesteps // 2], device=model.device)
    hidden = encode(model, ["", ""])  # (2, tokens, dim)
    inputs = filled_up(latents, times, hidden)
    with torch.enable_grad(), model.autocast(), training_graph(model.unet, *inputs):
        output: Tensor = model.unet(*inputs, return_dict=False)[0][: len(latents)]
    gradients = torch.autograd.grad(output.float().square().mean(), parameters)
    return torch.cat([gradient.flatten() for gradient in gradients])
