"""The settings [[signatures]]: which repositories serve only signed images, with the files of keys that they name.

The files are read together with the settings, so that one that is missing is told as they are read, a change of one is
taken over with them, and workers get what the node has read.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from registry.domain.patterns import parse_pattern
from registry.domain.signing import SignaturePolicy
from registry.errors import AccessInvalid

MAX_FILE = 1024 * 1024  # bytes


class PemFile(BaseModel):
    """A file that a setting names, with what it held when the settings were read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    text: str


def _with_text(value: object) -> object:
    if isinstance(value, PemFile | Mapping):  # read before; a mapping is what workers get from the node
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("expected the path of a file in PEM")
    try:
        with Path(value).open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ValueError(f"expected a file in PEM; it cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE or not content.isascii():
        raise ValueError("expected a file in PEM; it is too large, or no text")
    return {"path": value, "text": content.decode("ascii")}


def _pattern(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError('expected a pattern of repositories such as "team/**"')
    try:
        return parse_pattern(value)
    except AccessInvalid as error:
        raise ValueError(f"expected a pattern of repositories: {error.message}") from None


def _list(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError('expected a list of files such as ["release.pub"]')
    return value


PemFiles = Annotated[tuple[Annotated[PemFile, BeforeValidator(_with_text)], ...], BeforeValidator(_list)]


class SignatureSettings(BaseModel):
    """A policy: what is pulled from the repositories has to be signed by one of these keys or certificates.

    `keys` are public keys (cosign), `trust` certificates that chains pass (notation).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}$")]
    pattern: Annotated[str, BeforeValidator(_pattern)]
    keys: PemFiles = ()
    trust: PemFiles = ()

    def __str__(self) -> str:
        return f"{self.name}: {self.pattern} by {', '.join(file.path for file in (*self.keys, *self.trust))}"

    @property
    def policy(self) -> SignaturePolicy:
        keys, trust = ((file.text for file in files) for files in (self.keys, self.trust))
        return SignaturePolicy(self.name, self.pattern, tuple(keys), tuple(trust))


def problems(settings: Sequence[SignatureSettings]) -> Iterator[str]:
    """What is wrong with policies as a whole, or with what their files hold: a line each."""
    if not settings:
        return
    from registry.signatures.chains import read_certificates  # takes 50 ms, which most nodes need not spend
    from registry.signatures.keys import read_keys

    names = [each.name for each in settings]
    for number, each in enumerate(settings):
        where = f"signatures {each.name!r}"
        if each.name in names[:number]:
            yield f"{where}: two policies have this name"
        if not each.keys and not each.trust:
            yield f"{where}: keys, trust or both have to name a file, or nothing could satisfy the policy"
        for files, read in ((each.keys, read_keys), (each.trust, read_certificates)):
            for file in files:
                try:
                    read(file.text)
                except ValueError as error:
                    yield f"{where}: {file.path}: {error}"
