"""The names of settings, as a tree of sections has them; a number in a path counts the tables of a list."""

import difflib
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def fields(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every setting with its path; a list of tables is one setting."""
    for name, field in model.model_fields.items():
        path = (*above, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, path)
        else:
            yield path, field


def siblings(root: type[BaseModel], path: tuple[str, ...]) -> set[str]:
    """The keys that are known where the last part of the path stands."""
    return set(_section(root, path).model_fields)


def is_secret(root: type[BaseModel], path: tuple[str, ...]) -> bool:
    """Whether what stands there must not be shown."""
    field = _section(root, path).model_fields.get(path[-1])
    return field is not None and "secret" in field.metadata


def nearest(name: str, known: set[str]) -> str:
    """What to say after an unknown name: the one that was probably meant, or all that there are."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(sorted(known))}"


def _section(root: type[BaseModel], path: tuple[str, ...]) -> type[BaseModel]:
    """The innermost section around the last part of the path."""
    section = root
    for part in path[:-1]:
        field = section.model_fields.get(part)
        section = (_model_of(field.annotation) if field is not None else None) or section
    return section


def _model_of(annotation: object) -> type[BaseModel] | None:
    """The section that a setting is, or of which it is a list."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
