"""Pictures of units: strips that are kept beside the rows, and the sheets that the page shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from benchmarks.reproduce.rows import read_row
from benchmarks.reproduce.series import SERIES, Series, Unit
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.names import BASE, MethodLabel
from dpok_pipeline.files.durable import replace_durably
from dpok_pipeline.files.shards import Shards
from dpok_pipeline.report.pictures.contact_sheet import contact_sheet

#: Pictures in a strip: the first noises of the first training prompt.
COLUMNS = 8
CELL = 112  # side of a picture on a sheet, in pixels
QUALITY = 85  # of WebP: a strip is about 15 KB


def write_strip(project: Path, unit: Unit, drawn: Shards) -> None:
    """Keep the first images of a unit's first training prompt, side by side in one file.

    Args:
        project: The project's folder.
        unit: Whose images they are.
        drawn: The images, as `evaluation.drawing` leaves them.
    """
    first = next(drawn.read(["index", "image"])).sort_values("index").head(COLUMNS)
    images = [Image.open(BytesIO(image["bytes"])) for image in first["image"]]
    side = images[0].height
    strip = Image.new("RGB", (side * len(images), side))
    for place, image in enumerate(images):
        strip.paste(image, (place * side, 0))
    _write(strip_path(project, unit), strip)


def write_sheets(
    project: Path,
    series: Series,
    folder: Path,
    methods: Sequence[MethodLabel],
    part: str = "",
) -> list[Path]:
    """Put the strips of base model and methods below one another, an experiment a sheet.

    Args:
        project: The project's folder.
        series: Whose units they are, with those of the series that they are compared with.
        folder: The folder of the sheets, which are named by series, experiment and part.
        methods: How the methods are shown, in the order of the rows.
        part: Which part of the series' methods they are; empty for all.

    Returns:
        The sheets of the largest number of images that has strips: of the base model and of all
        methods that have one for every pictured experiment; none where there is no such number.

    Raises:
        InputError: A strip is no picture.
    """
    if not series.pictured:
        return []
    pictured = series.pictured[0]
    names = {BASE.name, *(method.name for method in methods)}
    units = [
        unit
        for one in (series, SERIES.get(series.beside))
        if one is not None
        for unit in one.units()
        if one.is_pictured(unit)
        and pictured.holds(unit)
        and unit.method in names
        # A partner's base model is the series' own.
        and (one is series or unit.method != BASE.name)
    ]
    for images in sorted(pictured.sizes, reverse=True):
        there = [
            unit
            for unit in units
            if unit.images in (0, images) and strip_path(project, unit).is_file()
        ]
        count = Counter(unit.method for unit in there)
        shown = [unit for unit in there if count[unit.method] == len(pictured.experiments)]
        if {BASE.name} < {unit.method for unit in shown}:
            return [
                _write_sheet(
                    folder / f"{'_'.join(filter(None, [series.name, experiment, part]))}.webp",
                    project,
                    [unit for unit in shown if unit.experiment == experiment],
                    methods,
                    images,
                )
                for experiment in pictured.experiments
            ]
    return []


def strip_path(project: Path, unit: Unit) -> Path:
    """Return where a unit's pictures lie: beside its row."""
    return (project / unit.path).with_suffix(".webp")


def _write_sheet(
    path: Path, project: Path, units: Sequence[Unit], methods: Sequence[MethodLabel], images: int
) -> Path:
    row = read_row(project, units[0])
    prompt = units[0].experiment if row is None else row.prompts[0]["prompt"]
    sheet = contact_sheet(
        {unit.method: _cut(strip_path(project, unit)) for unit in units},
        methods=[BASE, *methods],
        prompt=f"{prompt} From {images:,} images",
        indices=range(COLUMNS),
        cell=CELL,
    )
    _write(path, sheet)
    return path


def _cut(path: Path) -> list[Image.Image]:
    """Cut a strip into its square pictures."""
    try:
        strip = Image.open(path).convert("RGB")
    except OSError as error:
        raise InputError(
            f"{path}: no picture ({error}); restore it with git, or remove it with its row"
        ) from error
    side = strip.height
    return [strip.crop((left, 0, left + side, side)) for left in range(0, strip.width, side)]


def _write(path: Path, image: Image.Image) -> None:
    content = BytesIO()
    image.save(content, "WEBP", quality=QUALITY)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(path, content.getvalue())
