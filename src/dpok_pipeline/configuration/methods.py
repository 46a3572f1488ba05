"""Reads methods.yml, and gives every method all its settings.

What wins, from weak to strong: the groups of parameters in conf; `--params rl_training.…`, which
holds for all online methods; the method's own differences in methods.yml, those of the method that
it is `like` first; `--params methods.NAME.rl_training.…`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any

from kedro.config import MissingConfigException
from pydantic import ValidationError

from dpok_pipeline.algorithms.catalogue import ALGORITHMS
from dpok_pipeline.algorithms.methods import Method
from dpok_pipeline.configuration.names import reason_against
from dpok_pipeline.configuration.validation import PARAMETERS, SPELLING, advise, explain_field
from dpok_pipeline.errors import InputError
from dpok_pipeline.evaluation.names import MethodLabel, join_words, method_labels
from dpok_pipeline.files.fingerprint import flatten

FILE = "conf/*/methods.yml"
#: Fields that say how a method is shown. A method that is like another one does not inherit them.
LABELS = ("label", "colour", "description")
#: Groups of parameters that methods start from: those of online and of offline algorithms.
ONLINE_GROUP, OFFLINE_GROUP = "rl_training", "sft_training"

Entry = Mapping[str, Any]


def read_methods(
    loader: Any, groups: Mapping[str, Any], experiments: Collection[str]
) -> tuple[tuple[Method, ...], frozenset[str]]:
    """Read the methods of an environment.

    Args:
        loader: Kedro's configuration loader, made for the environment.
        groups: All groups of parameters, with those of `--params` merged into them.
        experiments: Names of the experiments, which no method can have.

    Returns:
        The methods in the file's order, and the names of all methods that the files know, among
        them those that an environment drops (`sft: null`).

    Raises:
        InputError: A name, a field or a value cannot be used. The message names the file and the
            field.
    """
    try:
        content = loader["methods"]
    except MissingConfigException:
        raise InputError("conf/base/methods.yml: missing; take it from the repository") from None
    entries = content.get("methods")
    if not isinstance(entries, dict) or set(content) != {"methods"}:
        raise InputError(f"{FILE}: expected one key, `methods`, with a name for each method")
    overrides = (loader.runtime_params or {}).get("methods", {})
    return resolve_methods(entries, groups, overrides, experiments), frozenset(entries)


def resolve_methods(
    entries: Mapping[str, Entry | None],
    groups: Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    experiments: Collection[str] = (),
) -> tuple[Method, ...]:
    """Give every method its settings; the module's docstring says what wins.

    Args:
        entries: The entries of methods.yml by their names; None drops a method.
        groups: The groups of parameters: `rl_training`, `sft_training`, `lora`.
        overrides: Differences by method, as `--params methods.…` gives them.
        experiments: Names of the experiments, which no method can have.

    Raises:
        InputError: A name, a field or a value cannot be used. The message names the file and the
            field.
    """
    overrides = overrides or {}
    listed = {name: entry for name, entry in entries.items() if entry is not None}
    for name in listed:
        if reason := reason_against(name, experiments):
            raise InputError(f"{FILE}: methods has {name!r}: {reason}")
    if not listed:
        raise InputError(f"{FILE}: no method is listed; there must be at least one")
    _check_overrides(overrides, listed)
    for group in (ONLINE_GROUP, OFFLINE_GROUP):
        _check_group(group, groups.get(group))
    whole = {name: _inherit(name, listed) for name in listed}
    _, *labels = method_labels(
        (name, entry.get("label"), entry.get("colour"), entry.get("description"))
        for name, entry in whole.items()
    )
    methods = [
        _make_method(label, whole[label.name], overrides.get(label.name, {}), groups)
        for label in labels
    ]
    _refuse_equal_settings(methods)
    return _describe_by_differences(methods, listed)


def group_of(algorithm: str) -> str:
    """Name the group of parameters that an algorithm's methods start from."""
    return ONLINE_GROUP if ALGORITHMS[algorithm].online else OFFLINE_GROUP


def _inherit(name: str, listed: Mapping[str, Entry]) -> dict[str, Any]:
    """Merge a method's entry over that of the method that it is like, and so on."""
    chain: list[str] = []
    step: str | None = name
    while step is not None:
        if step in chain:
            circle = " is like ".join([*chain[chain.index(step) :], step])
            raise InputError(f"{FILE}: {circle}: a circle; let one of them name its algorithm")
        if step not in listed:
            known = ", ".join(other for other in listed if other != name)
            raise InputError(
                f"{FILE}: methods.{chain[-1]}.like is {step!r}: no such method; there are {known}"
            )
        if not isinstance(listed[step], Mapping):
            raise InputError(f"{FILE}: methods.{step}: expected fields such as `algorithm: dpok`")
        _check_text(step, listed[step])
        chain.append(step)
        step = listed[step].get("like")
    entry: dict[str, Any] = {}
    for link in reversed(chain):
        differences = listed[link]
        if ("like" in differences) == ("algorithm" in differences):
            raise InputError(f"{FILE}: methods.{link}: give either `algorithm` or `like`")
        left_out = () if link == name else LABELS
        settings = {key: value for key, value in differences.items() if key not in left_out}
        entry = _merge(entry, settings)
    return entry


def _check_text(name: str, entry: Entry) -> None:
    """Refuse a field that must be text and is not; of a label, null says that there is none."""
    for field in ("like", "algorithm", *LABELS):
        value = entry.get(field, "")
        if not isinstance(value, str) and not (value is None and field in LABELS):
            raise InputError(f"{FILE}: methods.{name}.{field} is {value!r}: give text")


def _make_method(
    label: MethodLabel, entry: Entry, override: Entry, groups: Mapping[str, Any]
) -> Method:
    """Make one method of its layers.

    Args:
        label: The method's name, label, colour and description.
        entry: Its entry in methods.yml, merged with those of the methods that it is like.
        override: Its differences on the command line.
        groups: The groups of parameters.
    """
    name, algorithm = label.name, entry["algorithm"]
    if algorithm not in ALGORITHMS:
        known = ", ".join(ALGORITHMS)
        raise InputError(
            f"{FILE}: methods.{name}.algorithm is {algorithm!r}: no such algorithm; "
            f"there are {known}"
        )
    group = group_of(algorithm)
    known_fields = {"algorithm", "like", "lora", group, *LABELS}
    _check_fields(f"{FILE}: methods.{name}", entry, known_fields)
    _check_fields(f"--params: methods.{name}", override, {"lora", group})
    config = ALGORITHMS[algorithm].config
    if not isinstance(groups.get("lora"), Mapping):
        raise InputError(f"{PARAMETERS}: lora is {groups.get('lora')!r}: expected names and values")
    # One group serves several algorithms: each takes the fields that it has.
    shared = {key: value for key, value in groups[group].items() if key in config.model_fields}
    try:
        training = config(**_merge_layers(shared, entry.get(group), override.get(group)))
    except ValidationError as error:
        raise InputError(_explain(error, name, entry, override, group)) from None
    lora = _merge_layers(groups["lora"], entry.get("lora"), override.get("lora"))
    try:
        return Method(**label._asdict(), algorithm=algorithm, lora=lora, training=training)
    except ValidationError as error:
        raise InputError(_explain(error, name, entry, override)) from None


def _describe_by_differences(
    methods: Sequence[Method], listed: Mapping[str, Entry]
) -> tuple[Method, ...]:
    """Describe each method that is like another one, and has no description, by what it changes."""
    by_name = {method.name: method for method in methods}
    described: list[Method] = []
    for method in methods:
        sentence = method.description
        if not sentence and "like" in listed[method.name]:
            original = by_name[listed[method.name]["like"]]
            changes = join_words(_list_changes(original, method))
            sentence = f"is {original.label} with {changes}"
        described.append(method.model_copy(update={"description": sentence}))
    return tuple(described)


def _list_changes(original: Method, method: Method) -> list[str]:
    """List the settings in which a method differs from another one, such as `kl_weight 0.0`."""
    before = flatten(original.numbers())
    after = flatten(method.numbers() | {"name": original.name})
    return [
        f"{path.rpartition('.')[2]} {value}"
        for path, value in after.items()
        if path not in before or value != before[path]
    ]


def _explain(
    error: ValidationError, name: str, entry: Entry, override: Entry, group: str | None = None
) -> str:
    """Say in one line which field is wrong, and in which of the layers it stands.

    Args:
        error: Error of Pydantic, of which the first part is explained.
        name: The method's name.
        entry: The method's entry in methods.yml.
        override: Its differences on the command line.
        group: The group that the fields are in; None for fields of the method itself.
    """
    first = error.errors()[0]
    place = first["loc"] if group is None else (group, *first["loc"])
    path = ".".join(map(str, place))
    if _holds(override, path):
        where = f"--params: methods.{name}.{path}"
    elif _holds(entry, path) or path in LABELS:
        where = f"{FILE}: methods.{name}.{path}"
    else:
        where = f"{PARAMETERS}: {path}"
    return explain_field(where, first)


def _holds(tree: Any, path: str) -> bool:
    """Say whether a nested mapping has a value at a dotted path."""
    for part in path.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            return False
        tree = tree[part]
    return True


def _merge_layers(*layers: Any) -> Any:
    """Merge trees from weak to strong; None is no tree."""
    merged: Any = {}
    for layer in layers:
        merged = merged if layer is None else _merge(merged, layer)
    return merged


def _merge(weak: Any, strong: Any) -> Any:
    """Merge two trees; where they differ the strong one wins."""
    if not isinstance(weak, Mapping) or not isinstance(strong, Mapping):
        return strong
    merged = dict(weak)
    for key, value in strong.items():
        merged[key] = _merge(weak[key], value) if key in weak else value
    return merged


def _check_group(name: str, group: Any) -> None:
    """Refuse a field that no algorithm has: the methods would leave it out without a word."""
    if not isinstance(group, Mapping):
        raise InputError(f"{PARAMETERS}: {name} is {group!r}: expected names and values")
    algorithms = [key for key in ALGORITHMS if group_of(key) == name]
    known = {field for key in algorithms for field in ALGORITHMS[key].config.model_fields}
    for field in group:
        if field not in known:
            advice = advise(field, known, SPELLING)
            raise InputError(f"{PARAMETERS}: {name}.{field}: no such parameter; {advice}")


def _check_fields(where: str, entry: Any, known: Collection[str]) -> None:
    """Refuse a field that a method does not have, and a group that is no group."""
    if not isinstance(entry, Mapping):
        raise InputError(f"{where} is {entry!r}: expected names and values")
    for field, value in entry.items():
        if field not in known:
            raise InputError(f"{where}.{field}: no such field; {advise(field, known, SPELLING)}")
        if field in ("lora", ONLINE_GROUP, OFFLINE_GROUP) and not isinstance(value, Mapping):
            raise InputError(f"{where}.{field} is {value!r}: expected names and values")


def _check_overrides(overrides: Any, listed: Mapping[str, Entry]) -> None:
    """Refuse differences on the command line of a method that is not listed."""
    if not isinstance(overrides, Mapping):
        raise InputError(f"--params: methods is {overrides!r}: give methods.NAME.rl_training.…")
    for name in overrides:
        if name not in listed:
            raise InputError(
                f"--params: methods.{name}: no such method; there are {', '.join(listed)}"
            )


def _refuse_equal_settings(methods: list[Method]) -> None:
    """Refuse two names for the same thing: it would be trained twice and compared with itself."""
    for one, other in combinations(methods, 2):
        if one.numbers() | {"name": ""} == other.numbers() | {"name": ""}:
            raise InputError(
                f"{FILE}: {one.name} and {other.name} have the same settings; remove one of them"
            )
