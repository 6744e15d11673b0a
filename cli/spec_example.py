"""A commented example spec, written from the contract: its fields, docstrings, ranges and defaults, never by hand.

Every field stands in it, with its default where it has one, so that the file is a reference as well as a start.
"""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cli.failure import ExitCode, Failure
from trainer.contract.data import Data
from trainer.contract.methods import Method
from trainer.contract.optimizers import Optimizer
from trainer.contract.spec import TrainingSpec

WIDTH = 110
INDENT = "  "


def members(union: Any, tag: str) -> dict[str, type[BaseModel]]:
    """The classes of a union of the contract by the word that chooses one, e.g. {"sgd": SGD, ...}."""
    classes = get_args(get_args(union)[0])
    return {get_args(each.model_fields[tag].annotation)[0]: each for each in classes}


UNIONS = ((Method, "name"), (Optimizer, "name"), (Data, "source"))
METHODS = members(Method, "name")
OPTIMIZERS = members(Optimizer, "name")
DATA = members(Data, "source")

SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
HEAD = (
    "A training spec of Basin with every field. [Allowed values; default] stand above each; what you leave as it is "
    "you may delete.",
    "Check it with `basin spec check FILE`, queue it with `basin run submit FILE`.",
)
TRUST_RHO = 0.02
LEARNING_RATES = {"sgd": 0.1, "adamw": 0.001, "lamb": 0.005, "lars": 2.0, "lion": 0.0002, "muon": 0.002}
SMALL_VIT = {"patch_size": 4, "embed_dim": 64, "depth": 3, "num_heads": 4, "class_token": False, "global_pool": "avg"}

DATA_VALUES: dict[str, dict[str, Any]] = {
    "digits": {},
    "image_folder": {"data.train": "pets/train"},
    "huggingface": {"data.path": "cifar10"},
    "webdataset": {"data.train": "pets/train-{000..003}.tar"},
    "torchvision": {"data.name": "cifar10", "data.path": "torchvision"},
}
"""What each source has no default for."""


def example(*, method: str = "looksam", data: str = "digits", optimizer: str = "adamw") -> str:
    """YAML that `basin run submit` takes. Raises Failure for a word that the contract does not know."""
    chosen = {
        "method": _choose("--method", method, METHODS),
        "data": _choose("--data", data, DATA),
        "optimizer": _choose("--optimizer", optimizer, OPTIMIZERS),
    }
    given = _given(method, data, optimizer)
    return "\n".join([*_comments(HEAD, ""), "", *_section(TrainingSpec, given, "", chosen)]) + "\n"


def _given(method: str, data: str, optimizer: str) -> dict[str, Any]:
    """Values by path, where the contract has no default or the example needs another."""
    given: dict[str, Any] = {
        "model.name": "vit_tiny_patch16_224",
        "model.arguments": SMALL_VIT if data == "digits" else {},
        "data.source": data,
        **DATA_VALUES[data],
        "optimizer.name": optimizer,
        "optimizer.lr": LEARNING_RATES[optimizer],
        "method.name": method,
        "global_batch_size": 64,
        "epochs": 10,
    }
    if "layersam" in method:
        given["method.rho"] = TRUST_RHO
    return given


def field_paths() -> list[str]:
    """Every field of a spec, e.g. "method.rho", whichever class of a union it stands in."""
    return list(dict.fromkeys(_paths_in(TrainingSpec, "")))


def _paths_in(model: type[BaseModel], path: str) -> Iterator[str]:
    unions = {"method": METHODS, "optimizer": OPTIMIZERS, "data": DATA}
    for name, field in model.model_fields.items():
        inner = _model_in(field)
        classes = [inner] if inner else list(unions.get(f"{path}{name}", {}).values())
        for each in classes:
            yield from _paths_in(each, f"{path}{name}.")
        if not classes:
            yield f"{path}{name}"


def _choose(option: str, word: str, known: Mapping[str, type[BaseModel]]) -> type[BaseModel]:
    if word not in known:
        raise Failure(f"{option} {word!r} must be one of {', '.join(known)}", ExitCode.refused)
    return known[word]


def _section(
    model: type[BaseModel], given: Mapping[str, Any], path: str, chosen: Mapping[str, type[BaseModel]]
) -> Iterator[str]:
    indent = INDENT * path.count(".")
    after_section = False
    for name, field in model.model_fields.items():
        inner = chosen.get(f"{path}{name}") or _model_in(field)
        if not path and (inner or after_section):
            yield ""
        after_section = inner is not None
        if inner is None:
            yield from _comments([field.description, _limits(model, name, field)], indent)
            yield f"{indent}{name}: {_yaml(_value(field, given, path + name))}"
        else:
            yield from _comments([field.description, _docstring(inner), *_alternatives(inner)], indent)
            yield f"{indent}{name}:"
            yield from _section(inner, given, f"{path}{name}.", chosen)


def _model_in(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _value(field: FieldInfo, given: Mapping[str, Any], path: str) -> Any:
    return given[path] if path in given else field.get_default(call_default_factory=True, validated_data={})


def _alternatives(model: type[BaseModel]) -> list[str]:
    """The other classes that could stand in its place, a line each."""
    for union, tag in UNIONS:
        classes = members(union, tag)
        if model in classes.values():
            return [f"`{tag}` chooses:", *(f"- {word}: {_docstring(each)}" for word, each in classes.items())]
    return []


def _docstring(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _limits(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    """What is allowed, and the default."""
    allowed = _allowed(field.annotation, field.metadata)
    for union, tag in UNIONS:
        classes = members(union, tag)
        if tag == name and model in classes.values():
            allowed = ", ".join(classes)
    default = "required" if field.is_required() else f"default {_yaml(_value(field, {}, ''))}"
    return f"[{'; '.join(part for part in (allowed, default) if part)}]"


def _allowed(kind: Any, metadata: list[Any]) -> str:
    """Words and bounds in the type, e.g. "fp32, bf16, fp64" or "> 0 and <= 1,000"; "" where it says nothing."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(str(word) for word in inner)
    if origin is Annotated:
        # `Field(ge=0)` inside a type keeps its bounds in its own metadata.
        return _allowed(inner[0], [part for each in inner[1:] for part in getattr(each, "metadata", [each])])
    if origin in (Union, types.UnionType):
        choices = [_allowed(each, metadata) for each in inner if each is not type(None)]
        return " or ".join(dict.fromkeys(choice for choice in choices if choice))
    if origin is tuple:
        bounds = dict.fromkeys(_allowed(each, []) for each in inner)
        return "; ".join(f"each {one}" for one in bounds if one)
    if kind is bool:
        return "true, false"
    return _bounds(metadata)


def _bounds(metadata: list[Any]) -> str:
    found = {key: getattr(each, key) for each in metadata for key in SIGNS if hasattr(each, key)}
    if set(found) == {"ge", "le"}:
        return f"{_plain(found['ge'])} to {_plain(found['le'])}"
    return " and ".join(f"{SIGNS[key]} {_plain(bound)}" for key, bound in found.items())


def _plain(bound: float) -> str:
    return f"{int(bound):,}" if float(bound).is_integer() else f"{bound:g}"


def _comments(paragraphs: Iterable[str | None], indent: str) -> list[str]:
    lines: list[str] = []
    for paragraph in paragraphs:
        lines += textwrap.wrap(
            " ".join((paragraph or "").split()),
            WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# " + (INDENT if (paragraph or "").startswith("- ") else ""),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _yaml(value: Any) -> str:
    """One line of YAML."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=1_000_000)
    return text.removesuffix("\n").removesuffix("\n...")
