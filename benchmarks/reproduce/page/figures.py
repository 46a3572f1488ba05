"""The curves of docs/results.md as SVG files, which git can compare and any page can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from dpok_pipeline.evaluation.intervals import Interval
from dpok_pipeline.evaluation.names import MethodLabel, metric
from dpok_pipeline.report.figures.style import INK, QUIET, RULE

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.hashsalt": "dpok",  # equal figures are equal files
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.edgecolor": RULE,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.labelcolor": INK,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "axes.grid": True,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
    }
)
PANEL = (3.5, 3.1)  # inches
#: Half the width of a point, in pixels.
POINT = 4
#: Where a point's name may stand, the best place first: its shift in points, and what it is
#: aligned by.
NAME_PLACES = (((6, 3), "left"), ((-6, 3), "right"), ((0, 7), "center"), ((0, -14), "center"))

#: Estimates of one method by number of images.
Line = Mapping[int, Interval]


def draw_against_images(
    path: Path,
    lines: Mapping[str, Mapping[MethodLabel, Line]],
    base: Mapping[str, float],
) -> None:
    """Draw each metric against the number of images, with 95 % intervals, a panel each.

    Args:
        path: The SVG file.
        lines: Estimates by metric and method.
        base: The base model's level of each metric.
    """
    figure, panels = _panels(len(lines))
    for axes, (name, methods) in zip(panels, lines.items(), strict=True):
        scale = 100 if metric(name).share else 1
        axes.axhline(scale * base[name], color=QUIET, linestyle=":", linewidth=1.2, label="Base")
        for method, line in methods.items():
            _draw_line(axes, method, line, scale)
        axes.set_xscale("log", base=2)
        sizes = sorted({size for line in methods.values() for size in line})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("images of a prompt")
        axes.set_title(metric(name).label + (", %" if metric(name).share else ""), color=INK)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    _save(figure, path)


def draw_frontier(
    path: Path, points: Mapping[MethodLabel, Sequence[tuple[float, float, int]]]
) -> None:
    """Draw reward against KL, one path per method through its numbers of images.

    Args:
        path: The SVG file.
        points: KL, reward and number of images, in the order of the images.
    """
    figure, (axes,) = _panels(1, width=5.5)
    for method, places in points.items():
        axes.plot(
            *zip(*[place[:2] for place in places], strict=True),
            "o-",
            color=method.colour,
            label=method.label,
        )
        for kl, reward, images in places:
            if images:
                axes.annotate(
                    f"{images:,}",
                    (kl, reward),
                    xytext=(4, -9),
                    textcoords="offset points",
                    fontsize=7,
                    color=QUIET,
                )
    axes.set_xlabel(metric("kl").label)
    axes.set_ylabel(metric("image_reward").label)
    axes.legend(loc="lower right")
    _save(figure, path)


def draw_bars(
    path: Path, panels: Mapping[tuple[str, str], Mapping[MethodLabel, Mapping[str, Interval]]]
) -> None:
    """Draw bars with 95 % intervals, side by side for each prompt; a row of panels per metric.

    Args:
        path: The SVG file.
        panels: Levels of each prompt, by what the panel's prompts are called and its metric, and by
            method.
    """
    rows = len({name for _, name in panels})
    figure = Figure(figsize=(9.5, 2.6 * rows), layout="constrained")
    for place, ((prompts, name), methods) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, len(panels) // rows, place + 1)
        _draw_groups(axes, methods)
        title = f"{metric(name).label}, {prompts.lower()}"
        if name == "aesthetic":
            # Scores lie between 4 and 7, and bars from 0 would all look alike.
            axes.set_ylim(bottom=3)
            title += " (from 3 on)"
        axes.set_title(title, color=INK, fontsize=9)
    figure.axes[0].legend(loc="upper left", fontsize=8)
    _save(figure, path)


def _draw_groups(axes: Axes, methods: Mapping[MethodLabel, Mapping[str, Interval]]) -> None:
    """Draw a group of bars for each prompt, with a bar of each method."""
    width = 0.8 / len(methods)
    for number, (method, levels) in enumerate(methods.items()):
        mean, low, high = np.array([*levels.values()]).T
        places = np.arange(len(levels)) + (number - (len(methods) - 1) / 2) * width
        axes.bar(places, mean, width, color=method.colour, label=method.label)
        axes.errorbar(
            places, mean, [mean - low, high - mean], fmt="none", ecolor=INK, elinewidth=0.8
        )
    prompts = [*next(iter(methods.values()))]
    axes.set_xticks(range(len(prompts)), prompts)
    axes.grid(axis="x", visible=False)
    axes.set_axisbelow(True)


def draw_scatter(path: Path, points: Mapping[MethodLabel, tuple[Interval, Interval]]) -> None:
    """Draw the aesthetic score against the reward, a point with its name for each method.

    Args:
        path: The SVG file.
        points: Reward and aesthetic score by method.
    """
    figure, (axes,) = _panels(1, width=8.0, height=4.6)
    axes.margins(x=0.18, y=0.08)  # room for the names
    axes.set_xlabel(metric("image_reward").label)
    axes.set_ylabel(metric("aesthetic").label)
    names = {}
    for method, (reward, aesthetic) in points.items():
        axes.plot(reward.mean, aesthetic.mean, "o", color=method.colour, markersize=6)
        names[reward.mean, aesthetic.mean] = method.label
    _name_points(axes, names)
    _save(figure, path)


def _name_points(axes: Axes, names: Mapping[tuple[float, float], str]) -> None:
    """Write the name of each point beside it, where it covers no point and no other name."""
    axes.figure.draw_without_rendering()  # what lies where, in pixels, is known from then on
    pixels = [axes.transData.transform(place) for place in names]
    taken = [Bbox([pixel - POINT, pixel + POINT]) for pixel in pixels]
    for place, name in names.items():
        label = axes.annotate(
            name, place, xytext=(0, 0), textcoords="offset points", fontsize=8, color=INK
        )
        # Where no place is free, the last is as good as any.
        for shift, side in NAME_PLACES:
            label.set(position=shift, horizontalalignment=side)
            if not any(label.get_window_extent().overlaps(other) for other in taken):
                break
        taken.append(label.get_window_extent())


def draw_learning_curves(
    path: Path, curves: Mapping[str, Mapping[MethodLabel, Sequence[tuple[int, float]]]]
) -> None:
    """Draw the mean reward of rollouts against the images seen so far, a panel per prompt.

    Args:
        path: The SVG file.
        curves: Images and smoothed mean reward by prompt and method.
    """
    figure, panels = _panels(len(curves), width=2.9)
    for axes in panels[1:]:
        axes.sharey(panels[0])
    for axes, (prompt, methods) in zip(panels, curves.items(), strict=True):
        for method, places in methods.items():
            axes.plot(*zip(*places, strict=True), color=method.colour, label=method.label)
        axes.set_title(prompt, color=INK, fontsize=9)
        axes.set_xlabel("images")
    panels[0].set_ylabel("reward of rollouts")
    panels[0].legend(loc="upper left", fontsize=8)
    _save(figure, path)


def _panels(
    number: int, width: float = PANEL[0], height: float = PANEL[1]
) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width * number, height), layout="constrained")
    return figure, [figure.add_subplot(1, number, place + 1) for place in range(number)]


def _draw_line(axes: Axes, method: MethodLabel, line: Line, scale: float) -> None:
    sizes = sorted(line)
    mean, low, high = ([scale * line[size][part] for size in sizes] for part in range(3))
    axes.fill_between(sizes, low, high, color=method.colour, alpha=0.15, linewidth=0)
    axes.plot(sizes, mean, "o-", color=method.colour, label=method.label, markersize=4)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
