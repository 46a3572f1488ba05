"""Folders of models: tensors, settings and tokenizers that are missing, changed or another's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from benchmarks.fuzz.cases import Case, Edit, Family, misspelt, odd_values

WORLD = "data/01_raw/emoji_world"
VERBS = (
    "drop",
    "rename",
    "double",
    "swap",
    "fill",
    "spoil",
    "dtype",
    "dtypes",
    "flatten",
    "transpose",
)
SHAPES = ("halve", "widen", "unsqueeze", "empty")
NAMES = ("{}.old", "model.{}", "{}_1", "module.{}", "text_model.{}", "{}.lora_A.weight")
NUMBERS = ("0", "nan", "inf", "-inf", "1e30", "-1")
TYPES = ("float16", "bfloat16", "float64", "int64", "int8", "bool", "complex64", "float8_e4m3fn")


def strategy(template: Path) -> st.SearchStrategy[Case]:
    """Make the strategy from the files that the models have."""
    files = sorted(path for path in (template / WORLD).rglob("*") if path.is_file())
    names = [path.relative_to(template).as_posix() for path in files]
    keys = {
        name: _paths(json.loads((template / name).read_text()))
        for name in names
        if name.endswith("config.json")
    }
    return cases(names, {name: paths for name, paths in keys.items() if paths})


def _paths(content: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(content, dict):
        return []
    own = [(*prefix, key) for key in content]
    return own + [path for key, value in content.items() for path in _paths(value, (*prefix, key))]


@st.composite
def cases(pick: st.DrawFn, names: list[str], keys: dict[str, list[tuple[str, ...]]]) -> Case:
    """Damage the models once or twice."""
    edits: list[Edit] = []
    for _ in range(pick(st.sampled_from([1, 1, 1, 2]))):
        kind = pick(st.sampled_from(["tensors", "tensors", "settings", "settings", "files"]))
        if kind == "tensors":
            weights = [name for name in names if name.endswith(".safetensors")]
            edits.append(pick(tensors(pick(st.sampled_from(weights)))))
        elif kind == "settings":
            edits.append(pick(settings(keys)))
        else:
            edits += pick(files(names))
    return Case("models", edits)


@st.composite
def tensors(pick: st.DrawFn, path: str) -> Edit:
    """Change one tensor of a file."""
    verb = pick(st.sampled_from(VERBS + SHAPES))
    edit = {"path": path, "verb": verb, "tensor": pick(st.integers(0, 200))}
    if verb in ("rename", "double"):
        return edit | {"name": pick(st.sampled_from(NAMES))}
    if verb in ("fill", "spoil"):
        return edit | {"value": pick(st.sampled_from(NUMBERS))}
    if verb in ("dtype", "dtypes"):
        return edit | {"value": pick(st.sampled_from(TYPES))}
    return edit


@st.composite
def settings(pick: st.DrawFn, keys: dict[str, list[tuple[str, ...]]]) -> Edit:
    """Change, misspell or remove a key of a config.json."""
    path = pick(st.sampled_from(sorted(keys)))
    place = list(pick(st.sampled_from(keys[path])))
    way = pick(st.sampled_from(["value", "value", "value", "remove", "misspell"]))
    if way == "remove":
        return {"path": path, "replace": place}
    if way == "misspell":
        place[-1] = pick(misspelt(place[-1]))
    return {
        "path": path,
        "replace": place,
        "value": pick(odd_values | st.sampled_from([4, 8, 16, 32])),
    }


@st.composite
def files(pick: st.DrawFn, names: list[str]) -> list[Edit]:
    """Remove, cut, exchange or replace a file."""
    path = pick(st.sampled_from(names))
    folder = path.rpartition("/")[0]
    same = [name for name in names if name != path and name.endswith(path.rpartition(".")[2])]
    ways = [
        {"path": path, "remove": True}, {"path": folder, "remove": True},
        {"path": path, "truncate": pick(st.sampled_from([1, 8, 50, 10**9]))},
        {"path": path, "text": pick(st.sampled_from(["", "{", "[]", "{}", "null", "5", "version https://git-lfs"]))},
        {"path": path, "hex": pick(st.sampled_from(["", "00", "ff" * 16, "00" * 64, "80020000"]))},
        {"path": path, "link": "nowhere"}, {"path": path, "folder": True},
        {"path": path, "mode": 0}, {"path": f"{folder}/extra.safetensors", "text": "x"},
        {"path": f"{folder}/SHA256SUMS", "text": "00  config.json\n"},
    ]  # fmt: skip
    ways += [{"path": path, "swap": other} for other in same[:1] + same[-1:]]
    return [pick(st.sampled_from(ways))]


def look(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, Any]:
    """Open every model twice, each time with other random numbers, and let it compute."""
    return {"loads": [_outputs(catalog, seed) for seed in (1, 2)]}


def _outputs(catalog: CatalogProtocol, seed: int) -> dict[str, Any]:
    import torch

    from dpok_pipeline.diffusion.prompt_encoder import encode
    from dpok_pipeline.pipelines import models
    from dpok_pipeline.rewards.scorer import ask

    models.forget_models()
    torch.manual_seed(seed)
    compute = models.ComputeConfig.model_validate(catalog.load("params:compute"))
    base = models.open_model(catalog.load("base_model"), compute)
    embedder = models.open_embedder(catalog.load("embedder"), compute)
    fixed = torch.Generator().manual_seed(0)
    images = torch.rand((2, 3, 32, 32), generator=fixed)
    latents = torch.randn((2, *base.latent_shape), generator=fixed)
    prompts = ["a cat", "a green dog"]
    with torch.no_grad():
        text = encode(base, prompts)
        dtype = next(base.unet.parameters()).dtype
        noise = base.unet(latents.to(dtype), torch.tensor([5, 5]), text.to(dtype)).sample
        pictures = base.vae.decode(latents.to(next(base.vae.parameters()).dtype)).sample
        scores = {
            name: ask(models.open_scorer(spec, compute), images, prompts)
            for name, spec in catalog.load("scorers").items()
        }
        embedded = embedder.embed(images)
    models.forget_models()
    return {"text": text, "noise": noise, "pictures": pictures, "embedded": embedded, **scores}


def check(case: Case, outcome: Any, plain: dict[str, Any]) -> str | None:
    """Compare the two loads."""
    import torch

    first, second = outcome.seen["loads"]
    for name, value in first.items():
        if not torch.allclose(value, second[name], rtol=0, atol=0, equal_nan=True):
            return (
                f"{name}: two loads compute {value.flatten()[:3]} and {second[name].flatten()[:3]}"
            )
    return None


FAMILY = Family(strategy, look, check)
