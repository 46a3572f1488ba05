"""How long one step of a training takes, when several workers share its slices."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.scale.rates import Rates
from dpok_pipeline.algorithms.dpok.config import DPOKConfig
from dpok_pipeline.algorithms.sft.config import SFTConfig
from dpok_pipeline.diffusion.config import SamplingConfig

#: Stable Diffusion v1.5: numbers of a latent, of an image, of a text feature, of a LoRA by rank.
LATENT, IMAGE, TEXT = 4 * 64 * 64, 3 * 512 * 512, 768
LORA_BY_RANK = 199_296
FLOAT = 4  # bytes: latents, images, gradients and LoRA are float32
# Weights and AdamW's two averages of each, which members compare after every step.
_COMPARED = 3

# Calls of `Team.gather` and `Team.share` in the code, by what they belong to: the word of member 0
# (two broadcasts) and the digest in training/lead.py; in training/rollouts/drawer.py the batch
# size, final latents, trajectory, log-probabilities, images, faults and rewards; in
# algorithms/dpok/update.py an update's gradient, microbatch and sums; two for each rollout that
# old log-probabilities are recomputed of, at most.
_OF_STEP, _OF_ROLLOUT, _OF_UPDATE, _OF_RECOMPUTING = 3, 7, 3, 2


@dataclass(frozen=True)
class Step:
    """Seconds of one step, by what they are spent on.

    Attributes:
        rollout: Drawing.
        scoring: Decoding, the reward, and what alarms measure.
        update: Old log-probabilities, forward and backward passes.
        exchange: What passes between members, and the comparison of their weights.
    """

    rollout: float
    scoring: float
    update: float
    exchange: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.rollout + self.scoring + self.update + self.exchange

    @property
    def exchanged(self) -> float:
        """The exchange's share."""
        return self.exchange / self.seconds

    @property
    def scored(self) -> float:
        """The scoring's share."""
        return self.scoring / self.seconds


@dataclass(frozen=True)
class Dpok:
    """An iteration of DPOK.

    The value function is left out: its updates are about a thousandth of the arithmetic.

    Attributes:
        config: The run's sizes.
        steps: Denoising steps of an image.
        lora: Numbers of the LoRA.
        critic: Numbers of the value function; 0 without one.
    """

    config: DPOKConfig
    steps: int
    lora: int
    critic: int

    @classmethod
    def of(cls, config: DPOKConfig, sampling: SamplingConfig, rank: int) -> Dpok:
        """Take the sizes from the configuration."""
        critic = _count_critic(config, sampling.ddim_steps)
        return cls(config, sampling.ddim_steps, rank * LORA_BY_RANK, critic)

    @property
    def count(self) -> int:
        """Number of iterations."""
        return self.config.iterations

    @property
    def rows(self) -> int:
        """Rows of an update."""
        left = self.steps - self.config.last_steps_left_out
        every = left * self.config.images_per_iteration * self.config.buffer_rollouts
        return self.config.transitions_per_update or -(-every // self.config.updates_per_iteration)

    def possible_slices(self) -> list[int]:
        """Return the numbers of slices that the configuration accepts, small ones first."""
        images = self.config.images_per_iteration
        return [n for n in range(1, images + 1) if images % n == 0 and n <= self.rows]

    def step(self, rates: Rates, workers: int, slices: int) -> Step:
        """Return the duration of an iteration.

        Args:
            rates: Of one GPU.
            workers: Number of members, which divides the slices.
            slices: Number of slices; each is computed by itself, one after the other.
        """
        images, each = self.config.images_per_iteration, slices // workers
        drawn = rates.forward_seconds(images // slices, self.config.rollout_batch)
        score = rates.decode_seconds + rates.reward_seconds
        return Step(
            rollout=each * self.steps * drawn,
            # Alarms are measured by member 0, of all images, while the others wait.
            scoring=images / workers * score + images * rates.watch_seconds,
            update=each * self._slice_update(rates, slices),
            exchange=self._exchange(rates, workers, slices),
        )

    def _slice_update(self, rates: Rates, slices: int) -> float:
        """Return the duration of the largest slice of all updates of an iteration."""
        rows = -(-self.rows // slices)
        batch = min(self.config.microbatch, rows)
        # Reference, policy and its backward pass.
        passes = 2 + rates.backward
        updates = self.config.updates_per_iteration * passes * rates.forward_seconds(rows, batch)
        if not self.config.recompute_log_probs:
            return updates
        # Rows of each rollout in the buffer by themselves, in whole batches.
        rollouts = self.config.buffer_rollouts
        of_rollout = -(-self.recomputed_rows() // (rollouts * slices))
        return updates + rollouts * -(-of_rollout // batch) * rates.pass_seconds(batch)

    def recomputed_rows(self) -> int:
        """Return how many different rows an iteration's updates are expected to draw."""
        updates = self.config.updates_per_iteration
        images = self.config.images_per_iteration
        left = self.steps - self.config.last_steps_left_out
        held = left * images * self.config.buffer_rollouts
        if self.config.rows == "epochs":
            return min(held, updates * self.rows)
        return round(held * (1 - (1 - min(self.rows / held, 1)) ** updates))

    def _exchange(self, rates: Rates, workers: int, slices: int) -> float:
        if workers == 1:
            return 0.0
        config = self.config
        # Final latents, a trajectory of steps + 1, log-probabilities and reward of an image.
        numbers = LATENT * (self.steps + 2) + IMAGE + self.steps + 1
        # Every slice's gradient goes to every member, which adds them in order.
        gradients = config.updates_per_iteration * slices * self.lora
        size = FLOAT * (config.images_per_iteration * numbers + gradients)
        messages = _OF_STEP + _OF_ROLLOUT + _OF_UPDATE * config.updates_per_iteration
        if config.recompute_log_probs:
            messages += _OF_RECOMPUTING * config.buffer_rollouts
        digest = _COMPARED * FLOAT * (self.lora + self.critic) / rates.digest_bytes
        return rates.gather_seconds(workers, size, messages) + digest


@dataclass(frozen=True)
class Sft:
    """An update of SFT, which draws no images; without guidance, a row is one pass.

    Attributes:
        config: The run's sizes.
        lora: Numbers of the LoRA.
    """

    config: SFTConfig
    lora: int

    @property
    def count(self) -> int:
        """Number of updates."""
        return self.config.updates

    def possible_slices(self) -> list[int]:
        """Return numbers of slices of equal size, small ones first."""
        rows = self.config.rows_per_update
        return [n for n in range(1, rows + 1) if rows % n == 0]

    def step(self, rates: Rates, workers: int, slices: int) -> Step:
        """Return the duration of an update, as `Dpok.step`."""
        rows = -(-self.config.rows_per_update // slices)
        batch = min(self.config.microbatch, rows)
        # The base model is asked too, where the regularisation pulls to it.
        passes = 1 + rates.backward + (self.config.regularisation == "kl_o")
        exchange = 0.0
        if workers > 1:
            exchange = rates.gather_seconds(workers, FLOAT * slices * self.lora, _OF_STEP + 2)
            exchange += _COMPARED * FLOAT * self.lora / rates.digest_bytes
        forward = rates.forward_seconds(rows, batch, halves=1)
        return Step(0.0, 0.0, slices // workers * passes * forward, exchange)


def best_workers(training: Dpok | Sft, rates: Rates, gpus: int) -> int:
    """Return with how many workers, each with one slice, a training is fastest.

    Args:
        training: The training.
        rates: Of one GPU.
        gpus: The most workers; the fewest of those that are equally fast are taken.
    """
    numbers = [number for number in training.possible_slices() if number <= gpus]
    return min(numbers, key=lambda number: training.step(rates, number, number).seconds)


def _count_critic(config: DPOKConfig, steps: int) -> int:
    """Return the numbers of the value function of algorithms/dpok/value.py."""
    if config.baseline != "value_function":
        return 0
    width = config.value.hidden_size
    inputs = (LATENT + TEXT, width, width)
    # Of each conditional layer: weight, bias, and a gain for every step; then the output.
    return sum(width * (size + 1 + steps) for size in inputs) + width + 1
