"""The forms of settings that several sections share."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SecretStr

from registry.values import parse_seconds

Seconds = Annotated[float, BeforeValidator(parse_seconds)]
PositiveSeconds = Annotated[Seconds, Field(gt=0)]
# Hidden from every message and from `config show`; in the JSON that a worker is given it is in the clear.
Secret = Annotated[SecretStr, PlainSerializer(lambda secret: secret.get_secret_value(), when_used="json"), "secret"]


class Section(BaseModel):
    """A table of the TOML file. Nobody changes it, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
