"""The pictures of a page: each is in it once, and known by the id of the element that holds it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from dpok_pipeline.evaluation.names import BASE, MethodLabel, metric, one_line
from dpok_pipeline.report.pictures.webp import BASE64, as_webp, compression, data_uri

#: Bytes of text that a page's pictures may have: of 15 MB, plotly.js and tables need some, too.
BUDGET = 6_500_000
SIDES = (256, 192, 128)  # pixels
#: Characters of a prompt beside a picture: there are hundreds of pictures.
PROMPT_LENGTH = 200

Scored = list[tuple[str, str]]
Key = tuple[str, str, str, int]  # experiment, method, prompt_id, noise


class Material(NamedTuple):
    """What a page's pictures of one experiment are made of.

    Attributes:
        scores: Scores of all its images, as `evaluation.scores` makes them.
        pictures: Some of the images, as `chosen.choose_pictures` returns them.
    """

    scores: pd.DataFrame
    pictures: pd.DataFrame


class Picture(NamedTuple):
    """One image where it is shown.

    Attributes:
        place: Id of the element that holds it.
        source: It as a data URI where the page shows it first; empty where it shows it again.
        title: Method and noise.
        prompt: What it was asked to show.
        scores: Labels and numbers of its scores, that of the reward first.
        base: Id of the base model's picture from the same noise; empty if it is that itself.
    """

    place: str
    source: Markup
    title: str
    prompt: str
    scores: Scored
    base: str

    @property
    def alternative(self) -> str:
        """The text in place of the picture."""
        numbers = ", ".join(f"{label} {number}" for label, number in self.scores)
        return f"{self.title}: {numbers}"

    @property
    def reward(self) -> str:
        """The number of its reward."""
        return self.scores[0][1]


class Album:
    """Hands out the pictures of one page."""

    def __init__(self, materials: Mapping[str, Material], metrics: Sequence[str]) -> None:
        """Number the pictures, and find out how small they have to be.

        Args:
            materials: Scores and pictures by experiment.
            metrics: The scores to show with a picture, that of the reward first.
        """
        self._metrics = metrics
        self._webp: dict[Key, bytes] = {}
        self._scores: dict[Key, dict[Hashable, Any]] = {}
        for experiment, (scores, pictures) in materials.items():
            for row in scores.to_dict("records"):
                key = (experiment, row["method"], row["prompt_id"], int(row["index"]))
                self._scores[key] = row
            for row in pictures.to_dict("records"):
                key = (experiment, row["method"], row["prompt_id"], int(row["index"]))
                self._webp[key] = row["webp"]
        self._numbers = {key: number for number, key in enumerate(self._webp)}
        self._shown: set[Key] = set()
        images = list(self._webp.values())
        self._options = None
        if BASE64 * sum(map(len, images)) > BUDGET:
            self._options = compression(images, int(BUDGET / BASE64 / len(images)), SIDES)

    def show(
        self, experiment: str, method: MethodLabel, prompt_id: str, noise: int
    ) -> Picture | None:
        """Return a method's picture of a prompt and noise; None if the album has it not."""
        key = (experiment, method.name, prompt_id, noise)
        if key not in self._webp:
            return None
        base = (experiment, BASE.name, prompt_id, noise)
        row = self._scores[key]
        return Picture(
            place=self._place(key),
            source=self._source(key),
            title=f"{method.label}, noise {noise}",
            prompt=one_line(str(row["prompt"]), PROMPT_LENGTH),
            scores=self._score_texts(row),
            base=self._place(base) if base != key and base in self._webp else "",
        )

    def _place(self, key: Key) -> str:
        return f"picture-{self._numbers[key]}"

    def _source(self, key: Key) -> Markup:
        """Write a picture as a data URI, the first time that it is asked for."""
        if key in self._shown:
            return Markup()
        self._shown.add(key)
        webp = self._webp[key]
        if self._options is not None:
            webp = as_webp(webp, self._options)
        return data_uri(webp)

    def _score_texts(self, row: Mapping[Hashable, Any]) -> Scored:
        """Write an image's scores; a share, of one image, is yes or no."""
        texts = []
        for name in self._metrics:
            value, shown = row.get(name), metric(name)
            if value is None or pd.isna(value):
                texts.append((shown.label, "none"))
            elif shown.share:
                texts.append((shown.label, "yes" if value >= 0.5 else "no"))
            else:
                texts.append((shown.label, shown.number(float(value))))
        return texts
