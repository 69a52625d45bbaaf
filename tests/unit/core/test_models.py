"""The table of models."""

import pytest

from embedwire_server.core.models import (
    BUILT_IN,
    MARENGO_27,
    MARENGO_30,
    MARENGO_35,
    Modality,
    Model,
    ModelTable,
    TextRules,
    Truncate,
)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("marengo3.0", MARENGO_30),
        ("Marengo-retrieval-2.7", MARENGO_27),
        ("marengo-retrieval-2.7", MARENGO_27),
        ("marengo2.7", MARENGO_27),
        ("Marengo3.0", None),
        (" marengo3.0", None),
        ("marengo", None),
        ("", None),
    ],
)
def test_find(name: str, model: Model | None) -> None:
    """A model is found by its name and its aliases, case-sensitively."""
    assert ModelTable().find(name) is model


@pytest.mark.parametrize(
    ("model", "dimensions", "max_tokens", "truncates", "max_image_bytes", "min_side_px"),
    [
        pytest.param(MARENGO_30, 512, 500, {Truncate.END}, 32 << 20, 128, id="marengo3.0"),
        pytest.param(MARENGO_27, 1024, 77, set(Truncate), 5 << 20, 64, id="Marengo-retrieval-2.7"),
    ],
)
def test_facts(
    model: Model, dimensions: int, max_tokens: int, truncates: set[Truncate], max_image_bytes: int, min_side_px: int
) -> None:
    """The built-in models have the properties that the upstream documents."""
    assert model.text is not None
    assert model.image is not None
    assert model.audio is not None
    assert (model.dimensions, model.endpoint) == (dimensions, "/embed")
    assert (model.text.max_tokens, set(model.text.truncates)) == (max_tokens, truncates)
    assert (model.image.max_bytes, model.image.min_side_px) == (max_image_bytes, min_side_px)
    assert model.audio.max_bytes is None


@pytest.mark.parametrize("modality", list(Modality))
def test_takes(modality: Modality) -> None:
    """A model accepts the modalities for which it has rules."""
    assert all(model.takes(modality) for model in BUILT_IN)
    assert not Model("bare", 4).takes(modality)
    assert Model("text", 4, text=TextRules(5, ())).takes(modality) is (modality is Modality.TEXT)


def test_order() -> None:
    """The table keeps its order and has each model once, regardless of aliases."""
    extra = Model("extra", 4, aliases=("a", "b"))
    table = ModelTable((*BUILT_IN, extra))
    assert list(table) == [*BUILT_IN, extra]
    assert len(table) == len(BUILT_IN) + 1
    assert len(ModelTable([])) == 0


def test_replacement() -> None:
    """A later row replaces the row of the same name at its position, with its own aliases only."""
    mine = Model("marengo3.0", 64, aliases=("mine",))
    table = ModelTable((*BUILT_IN, mine))
    assert list(table) == [mine, MARENGO_35, MARENGO_27]
    assert table.find("marengo3.0") is mine
    assert table.find("mine") is mine
    old = ModelTable((*BUILT_IN, Model("Marengo-retrieval-2.7", 64)))
    assert old.find("marengo2.7") is None


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Model("marengo2.7", 4), id="name is another's alias"),
        pytest.param(Model("x", 4, aliases=("marengo2.7",)), id="alias is another's alias"),
        pytest.param(Model("x", 4, aliases=("marengo3.0",)), id="alias is another's name"),
    ],
)
def test_ambiguous(other: Model) -> None:
    """A name that two models share is refused, and the error has the name."""
    with pytest.raises(ValueError, match=r"two models are called 'marengo[23]\.[07]'"):
        ModelTable((*BUILT_IN, other))


def test_alias_of_itself() -> None:
    """An alias that equals the model's name is accepted."""
    model = Model("x", 4, aliases=("x", "y", "y"))
    assert ModelTable([model]).find("y") is model


@pytest.mark.parametrize("row", [Model("", 4), Model("m", 0), Model("m", -3)], ids=["no-name", "none", "negative"])
def test_a_row_needs_a_name_and_dimensions(row: Model) -> None:
    """A row without a name or without dimensions is refused."""
    with pytest.raises(ValueError, match="must have a name"):
        ModelTable([row])
