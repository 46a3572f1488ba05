"""What a sweep varies, as the command line says it: each parameter with its values or its range.

`rl_training.learning_rate=3e-4,1e-3` gives values to choose from, `…=1e-4..1e-2` a range, and
`…=log:1e-4..1e-2` a range in which every order of magnitude is as likely as the others.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omegaconf import OmegaConf

from dpok_pipeline.errors import InputError

Value = int | float | str | bool | None
#: One value for each parameter that is varied, by the parameter's dotted name.
Setting = dict[str, Value]

#: Digits of a number that is drawn: nobody can tell more of them apart, or wants to type them.
DIGITS = 3
_LOG = "log:"


@dataclass(frozen=True)
class Choices:
    """Values to choose from.

    Attributes:
        values: The values, all different.
    """

    values: tuple[Value, ...]

    def draw(self, source: random.Random) -> Value:
        """Choose a value at random."""
        return source.choice(self.values)


@dataclass(frozen=True)
class Range:
    """Numbers between two ends.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Whether the numbers' logarithms are spread evenly, and not the numbers themselves.
        whole: Whether only whole numbers are meant, as when both ends are written as such.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def draw(self, source: random.Random) -> Value:
        """Draw a number at random."""
        if self.log:
            drawn = math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        else:
            drawn = source.uniform(self.low, self.high)
        return self.shorten(drawn)

    def shorten(self, number: float) -> Value:
        """Return a number of the range with as many digits as are kept."""
        if self.whole:
            return min(max(round(number), int(self.low)), int(self.high))
        return min(max(float(f"{number:.{DIGITS}g}"), self.low), self.high)


Dimension = Choices | Range
#: The dimension of each parameter, by its dotted name.
Space = Mapping[str, Dimension]


def read_space(texts: Sequence[str]) -> dict[str, Dimension]:
    """Read `NAME=VALUE,VALUE` and `NAME=LOW..HIGH`.

    Raises:
        InputError: A text has another form, a name or a value is given twice, or a range is empty.
    """
    space: dict[str, Dimension] = {}
    for text in texts:
        name, equals, values = (part.strip() for part in text.partition("="))
        if not (name and equals and values and all(v.strip() for v in values.split(","))):
            raise InputError(f"{text}: give NAME=VALUE,VALUE or NAME=LOW..HIGH")
        if name in space:
            raise InputError(f"{name} is given twice; give all its values by commas")
        space[name] = _read_range(name, values) if ".." in values else _read_values(name, values)
    return space


def combine(space: Space) -> list[Setting]:
    """Combine every value of each parameter with all those of the others.

    Raises:
        InputError: A parameter has a range, of which there is no end of values.
    """
    values: list[tuple[Value, ...]] = []
    for name, dimension in space.items():
        if isinstance(dimension, Range):
            raise InputError(
                f"{name}: a grid takes values by commas; give those, or --search random or tpe"
            )
        values.append(dimension.values)
    return [dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*values)]


def draw(space: Space, count: int, seed: int) -> list[Setting]:
    """Draw different settings at random; the first ones do not depend on how many are drawn.

    Args:
        space: What is varied.
        count: Number of settings.
        seed: Seed of the draws.

    Raises:
        InputError: The space has not as many settings.
    """
    source, settings = random.Random(seed), list[Setting]()
    # A small space runs out of new settings: most draws are then of those that are there already.
    for _ in range(100 * count):
        setting = {name: dimension.draw(source) for name, dimension in space.items()}
        if setting not in settings:
            settings.append(setting)
        if len(settings) == count:
            return settings
    raise InputError(
        f"--trials {count}: the parameters have only {len(settings)} different settings; ask for "
        "fewer, or leave out --search random"
    )


def _read_values(name: str, text: str) -> Choices:
    values = tuple(_read_value(name, part.strip()) for part in text.split(","))
    for place, value in enumerate(values):
        # `True` equals 1 in Python, and is another value here.
        if any(type(value) is type(other) and value == other for other in values[:place]):
            raise InputError(f"{name}: {value} is given twice; give different values")
    return Choices(values)


def _read_value(name: str, text: str) -> Value:
    """Read a value as the configuration does: 1e-3 is a number, true and null are no texts."""
    try:
        value = OmegaConf.from_dotlist([f"value={text}"]).value
    except Exception:
        value = ()
    if not isinstance(value, int | float | str | bool | None):
        raise InputError(f"{name}: {text} is no value; give numbers, words, true, false or null")
    return value


def _read_range(name: str, text: str) -> Range:
    log = text.startswith(_LOG)
    low_text, _, high_text = text.removeprefix(_LOG).partition("..")
    low, high = _read_value(name, low_text), _read_value(name, high_text)
    numbers = [end for end in (low, high) if isinstance(end, int | float)]
    if len(numbers) < 2 or any(isinstance(end, bool) for end in numbers):
        raise InputError(f"{name}: {text} is no range; give two numbers, such as 1e-4..1e-2")
    first, last = map(float, numbers)
    if not (math.isfinite(first) and math.isfinite(last) and first < last):
        raise InputError(f"{name}: {text} is no range; the smaller number comes first")
    if log and first <= 0:
        raise InputError(f"{name}: {text}: only numbers above 0 have orders of magnitude")
    whole = all(isinstance(end, int) for end in numbers)
    return Range(first, last, log=log, whole=whole)
