"""Models of a server, by name."""

from collections.abc import Sequence

from embedwire.errors import Failure, FieldViolation, RequestError
from embedwire.results import Model


def find(models: Sequence[Model], name: str) -> Model:
    """Return the model with a name or an alias.

    Raises:
        RequestError: there is none; as the server's error of a call with this name.
    """
    found = next((model for model in models if name in (model.name, *model.aliases)), None)
    if found is None:
        violation = FieldViolation("model_name", f"must be one of: {', '.join(model.name for model in models)}")
        message = f"{violation.field}: {violation.description}"
        raise RequestError(Failure("INVALID_ARGUMENT", "INVALID_REQUEST", message, (violation,)))
    return found
