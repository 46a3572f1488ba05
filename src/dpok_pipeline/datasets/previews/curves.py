"""Learning curves as a preview: a few panels above one another, against the images seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from kedro_datasets._typing import PlotlyPreview

# What a person looks at first, if it was measured; a preview has room for no more.
FIRST, MOST = ("reward/mean", "kl/noise_mse", "policy/loss", "grad/norm"), 3
PANEL_HEIGHT, BETWEEN = 170, 0.09  # pixels, and a share of the figure
ACROSS = "images_seen"


def curves_figure(curves: pd.DataFrame) -> PlotlyPreview:
    """Draw the first curves of a training.

    Args:
        curves: One row per logged step, with `images_seen` and a column per metric.

    Raises:
        ValueError: There is nothing to draw.
    """
    from kedro_datasets._typing import PlotlyPreview

    shown = [name for name in FIRST if name in curves and curves[name].notna().any()][:MOST]
    if ACROSS not in curves or not shown:
        raise ValueError("no curve to preview")
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "height": PANEL_HEIGHT * len(shown) + 80,
        "margin": {"l": 60, "r": 20, "t": 30, "b": 45},
        "showlegend": False,
        "xaxis": {"title": {"text": "images seen"}, "anchor": f"y{len(shown)}"},
        "annotations": [],
    }
    share = 1 / len(shown)
    for number, name in enumerate(shown, start=1):
        known = curves.dropna(subset=[name])
        top = 1 - (number - 1) * share
        data.append(
            {
                "type": "scatter",
                "mode": "lines" if len(known) > 1 else "markers",
                "name": name,
                "x": known[ACROSS].tolist(),
                "y": known[name].tolist(),
                "xaxis": "x",
                "yaxis": f"y{number}",  # Plotly takes y1 for y
            }
        )
        layout["yaxis" if number == 1 else f"yaxis{number}"] = {
            "domain": [top - share + BETWEEN, top],
            "anchor": "x",
        }
        layout["annotations"].append(
            {
                "text": name,
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": top,
                "xanchor": "left",
                "yanchor": "bottom",
                "showarrow": False,
            }
        )
    return PlotlyPreview({"data": data, "layout": layout})
