"""The rates that the model is built on, each with who measured it or what it is computed from.

Three kinds of number are told apart, here and in docs/scale.md:

    published   measured by others, on a GPU
    ours        measured or counted in this project, without a GPU
    assumed     neither; a flag of the command changes those that matter
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: TFLOP of one row through Stable Diffusion v1.5's UNet, 64×64 latents, 77 tokens. Ours: counted
#: by torch's FlopCounterMode (tests/benchmarks/scale/test_rates.py counts it again).
FORWARD = 0.803
#: TFLOP of its backward pass where only the LoRA learns. Ours, counted likewise.
BACKWARD = 0.910
#: TFLOP of decoding one image of 512×512 pixels. Ours, counted likewise.
DECODE = 2.515
#: TFLOP of ImageReward for one image. Ours: 0.123 of its vision part counted, 0.014 of its text
#: part computed from its widths.
IMAGE_REWARD = 0.138
#: TFLOP of CLIP ViT-L/14 for one image. Ours, counted. Alarms embed each image twice.
CLIP = 0.162

# Published: iterations per second of Stable Diffusion on an A100, not compiled, "torch nightly", in
# diffusers' docs/source/en/optimization/torch2.0.md. An iteration is a step of all images of a
# batch, each with guidance.
_ONE, _SIXTEEN = 23.13, 3.6

# TFLOP/s in half precision without sparsity, by the maker's data sheets. At 16 images the A100
# reaches 16 · 2 · FORWARD · 3.6 = 93 of them, 30 %.
PEAK = {"a100": 312.0, "h200": 989.0}


@dataclass(frozen=True)
class Rates:
    """What one GPU does in a second, and what passes between several.

    Attributes:
        launch_seconds: The least that a pass through the UNet takes, however few its rows: the CPU
            takes as long to launch its kernels. Published for the A100, at one image.
        row_seconds: A forward pass of one row with guidance, in a batch that fills the GPU.
            Published for the A100, at 16 images. By these two numbers 4 images take 69 ms; 76 ms
            are published.
        backward: Backward passes in forward passes. Ours, counted; that they reach the same share
            of the peak is assumed.
        decode_seconds: Decoding one image. Ours, counted; at the same share of the peak, assumed.
        reward_seconds: Scoring one image, inside the member that has drawn it; likewise.
        watch_seconds: What alarms measure of one image, by member 0 alone; likewise.
        latency_seconds: One message to the next member. Ours: gloo, 16 KB between two processes of
            one machine, 0.3 ms.
        gloo_bytes: Bytes per second into one member. Ours: gloo, 4 MB between two processes of two
            cores of an AMD EPYC, 3.7 ms, less one latency.
        network_latency_seconds: What a message takes longer between machines. Assumed.
        network_bytes: Bytes per second between machines, 25 Gbit/s. Assumed.
        digest_bytes: Bytes per second of sha256, of which members compare what they have trained.
            Ours: OpenSSL on one core of an AMD EPYC.
        machine_gpus: GPUs of one machine. Assumed.
    """

    launch_seconds: float = 1 / _ONE
    row_seconds: float = 1 / _SIXTEEN / 16
    backward: float = BACKWARD / FORWARD
    decode_seconds: float = DECODE / (2 * FORWARD) / _SIXTEEN / 16
    reward_seconds: float = IMAGE_REWARD / (2 * FORWARD) / _SIXTEEN / 16
    watch_seconds: float = 2 * CLIP / (2 * FORWARD) / _SIXTEEN / 16
    latency_seconds: float = 0.3e-3
    gloo_bytes: float = 1.2e9
    network_latency_seconds: float = 0.1e-3
    network_bytes: float = 25e9 / 8
    digest_bytes: float = 1.8e9
    machine_gpus: int = 8

    def pass_seconds(self, rows: float) -> float:
        """Return the duration of a forward pass of so many rows with guidance, at once."""
        return max(self.launch_seconds, rows * self.row_seconds)

    def forward_seconds(self, rows: int, batch: int, halves: int = 2) -> float:
        """Return the duration of the forward passes of rows in batches.

        Args:
            rows: Number of rows.
            batch: Rows at once.
            halves: Passes of the UNet for each row: 2 with guidance, 1 without.
        """
        full, rest = divmod(rows, batch)
        seconds = full * self.pass_seconds(batch * halves / 2)
        return seconds + (self.pass_seconds(rest * halves / 2) if rest else 0.0)

    def gather_seconds(self, workers: int, size: float, messages: int) -> float:
        """Return the duration of gathering tensors from all members, in all members.

        Gloo passes parts on from member to member: each waits for as many messages as there are
        others, and receives all but its own part.

        Args:
            workers: Number of members.
            size: Bytes of all members' tensors together.
            messages: Number of calls.
        """
        if workers == 1:
            return 0.0
        latency, bandwidth = self.latency_seconds, self.gloo_bytes
        if workers > self.machine_gpus:
            latency += self.network_latency_seconds
            bandwidth = min(bandwidth, self.network_bytes)
        steps = workers - 1
        return messages * steps * latency + size * steps / workers / bandwidth


def rates_of(gpu: str) -> Rates:
    """Return the rates of a kind of GPU.

    Args:
        gpu: `a100`, whose rates are published; or `h200`, for which no published rate of Stable
            Diffusion v1.5 in batches was found. It is assumed to reach the same share of its peak
            as the A100, and to be launched by a CPU that is as fast.
    """
    rates = Rates()
    slower = PEAK["a100"] / PEAK[gpu]
    names = ("row_seconds", "decode_seconds", "reward_seconds", "watch_seconds")
    return replace(rates, **{name: getattr(rates, name) * slower for name in names})
