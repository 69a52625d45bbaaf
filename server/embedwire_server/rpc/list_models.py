"""Pagination of ListModels."""

from embedwire.v1 import embedding_pb2 as pb
from embedwire_server.auth.tokens import Token
from embedwire_server.config.settings import Settings
from embedwire_server.core.errors import InvalidRequest, Violation
from embedwire_server.core.inputs import Limits
from embedwire_server.core.models import ModelTable
from embedwire_server.rpc import encode

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000


class Catalog:
    """The models that ListModels returns.

    Args:
        models: the model table.
        limits: the server's limits, shown where they are lower than those of a model.
    """

    def __init__(self, models: ModelTable, limits: Limits) -> None:
        self._models = [(model, encode.model(model, limits)) for model in models]

    def reconfigure(self, settings: Settings) -> None:
        """Use the models and limits of these settings for later requests."""
        self._models = [(model, encode.model(model, settings.limits)) for model in settings.model_table]

    def page(self, request: pb.ListModelsRequest, token: Token | None = None) -> pb.ListModelsResponse:
        """Return one page of the models that a token may use. A page token is the name of the page's first model.

        Raises:
            InvalidRequest: the page size is negative, or the page token is unknown.
        """
        if request.page_size < 0:
            raise InvalidRequest(Violation("page_size", "must not be negative"))
        models = [message for model, message in self._models if token is None or token.sees(model)]
        names = [model.name for model in models]
        if request.page_token and request.page_token not in names:
            raise InvalidRequest(Violation("page_token", "is invalid; omit it to get the first page"))
        start = names.index(request.page_token) if request.page_token else 0
        end = start + min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        return pb.ListModelsResponse(models=models[start:end], next_page_token="".join(names[end : end + 1]))
