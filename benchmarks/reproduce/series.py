"""What is measured: every method, prompt, training seed and number of images is a unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

RESULTS = Path("benchmarks/results/reproduce")
PAGE, IMAGES = Path("docs/results.md"), Path("docs/images")
PROMPTS = Path("data/01_raw/prompts/paper.yml")
PAPER = ("color", "composition", "count", "location")
BASE = "base"


@dataclass(frozen=True, order=True)
class Unit:
    """One trained model, drawn and scored once.

    Attributes:
        series: Name of the series that it belongs to.
        images: Images of training prompts that the method has learned from.
        seed: Training seed.
        experiment: Whose prompts it was trained on.
        method: Name of the method; `base` is the base model, of 0 images and seed 0.
    """

    series: str
    images: int
    seed: int
    experiment: str
    method: str

    @property
    def path(self) -> Path:
        """The file of its figures, from the project's folder."""
        name = f"{self.method}_seed-{self.seed}_images-{self.images:05d}.json"
        return RESULTS / self.series / self.experiment / name

    @property
    def run(self) -> tuple[str, str, str, int]:
        """What makes the run of which this is one size: series, experiment, method and seed."""
        return self.series, self.experiment, self.method, self.seed

    def __str__(self) -> str:
        """Name the unit as the command's lines do."""
        if self.method == BASE:
            return f"{self.experiment}: base model"
        return f"{self.experiment}: {self.method}, {self.images} images, seed {self.seed}"


class Pictured(NamedTuple):
    """Units whose first pictures are kept beside their rows, and the base model's with them.

    Attributes:
        sizes: Numbers of images.
        seed: The training seed.
        experiments: Names of the experiments.
    """

    sizes: tuple[int, ...]
    seed: int
    experiments: tuple[str, ...]

    def holds(self, unit: Unit) -> bool:
        """Return whether a unit is one of them."""
        trained = unit.seed == self.seed and unit.images in self.sizes
        return unit.experiment in self.experiments and (trained or unit.method == BASE)


@dataclass(frozen=True, eq=False)
class Series:
    """Units that belong to one question.

    Attributes:
        name: Name of its folder of results.
        env: Environment in conf whose methods and settings are taken.
        methods: Names of the methods, the base model aside.
        sizes: Numbers of images at which every run is measured.
        largest: The largest of these that each training seed goes to.
        experiments: Names of the experiments.
        only: Experiments of a training seed that has not all of them.
        prompts: File with the prompts of all experiments.
        params: What differs from the environment, as for `kedro run --params`.
        beside: Name of a series whose methods these are compared with.
        pictured: Whose pictures are kept. The series' own sheets show the first; further ones are
            for series that are compared with this one.
    """

    name: str
    env: str
    methods: tuple[str, ...]
    sizes: tuple[int, ...]
    largest: Mapping[int, int]
    experiments: tuple[str, ...] = PAPER
    only: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    prompts: Path = PROMPTS
    params: str = ""
    beside: str = ""
    pictured: tuple[Pictured, ...] = ()

    def is_pictured(self, unit: Unit) -> bool:
        """Return whether a unit's first pictures are kept beside its row."""
        return any(pictured.holds(unit) for pictured in self.pictured)

    def experiments_of(self, seed: int) -> tuple[str, ...]:
        """Return the experiments of a training seed."""
        return self.only.get(seed, self.experiments)

    def units(self) -> list[Unit]:
        """List all units: the base model first, then every run from its smallest size up.

        One training seed comes after the other, and of it one method after the other, so that a
        command that is stopped early leaves whole curves and not the beginnings of all.
        """
        base = [Unit(self.name, 0, 0, experiment, BASE) for experiment in self.experiments]
        trained = [
            Unit(self.name, images, seed, experiment, method)
            for seed, largest in self.largest.items()
            for method in self.methods
            for experiment in self.experiments_of(seed)
            for images in self.sizes
            if images <= largest
        ]
        return base + trained


#: Reward against images (paper, section 5.2): what each method makes of how many.
CURVE = Series(
    name="curve",
    env="ablations",
    methods=("sft", "dpok", "dpok_official"),
    sizes=(240, 480, 960, 1920, 3840),
    largest={0: 3840, 1: 1920, 2: 960},
    pictured=(Pictured((960, 3840), 0, PAPER), Pictured((480,), 1, ("color",))),
)
#: What each part of DPOK and of SFT does (paper, section 5.3 and appendices A.5, A.6 and B).
ABLATIONS = Series(
    name="ablations",
    env="ablations",
    methods=(
        "dpok_value", "dpok_no_baseline", "dpok_all_steps",
        "sft_kl_o", "sft_kl_o_1", "sft_kl_o_2", "sft_kl_o_5",
        "sft_shift_1", "sft_shift_2", "sft_shift_5",
        "dpok_one_update", "dpok_step_weights", "rwr", "dpok_no_kl", "dpok_strong_kl",
    ),
    sizes=(480,),
    largest={0: 480, 1: 480},
    only={1: ("color",)},
    beside=CURVE.name,
    # Of the seed with which two of the methods erase the picture.
    pictured=(Pictured((480,), 1, ("color",)),),
)  # fmt: skip
#: What the KL term does in a long run (paper, section 5.3), on the paper's prompt for it.
KL = Series(
    name="kl",
    env="ablations",
    methods=("dpok_no_kl", "dpok_strong_kl"),
    sizes=(960, 1920, 3840),
    largest={0: 3840, 1: 960},
    experiments=("color",),
    beside=CURVE.name,
    pictured=(Pictured((960, 3840), 0, ("color",)),),
)
#: One model for 64 prompts (paper, section 5.5), 240 images of each in all.
MANY = Series(
    name="many",
    env="ablations",
    methods=("sft", "dpok"),
    sizes=(3840, 15360),
    largest={0: 15360},
    experiments=("many",),
    prompts=Path("data/01_raw/prompts/many.yml"),
    # A rollout has six prompts, and of each as many images as a mean reward needs.
    params="rl_training.group_size=8,evaluation.images_per_prompt=16",
)
#: A bias of the base model (paper, section 5.4): it takes roses for the whiskey of that name.
BIAS = Series(
    name="bias",
    env="ablations",
    methods=("sft", "dpok"),
    sizes=(960,),
    largest={0: 960, 1: 960},
    experiments=("bias",),
    prompts=Path("data/01_raw/prompts/bias.yml"),
    pictured=(Pictured((960,), 0, ("bias",)),),
)
SERIES = {series.name: series for series in (CURVE, ABLATIONS, KL, MANY, BIAS)}
