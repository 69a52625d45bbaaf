"""Models of the configuration file."""

from pathlib import Path

import pytest

from embedwire_server.core.models import BUILT_IN, AudioRules, ImageRules, Model, TextRules, Truncate
from tests.unit.config.support import faults, load

MODEL = """
[[models]]
name = "mine"
aliases = ["my-model"]
dimensions = 64
endpoint = "/embed-mine"
text = {max_tokens = 10, truncates = ["none", "end"], sends_truncate = true}
image = {max_bytes = 1000, min_side_px = 8, media_types = ["image/webp"]}
audio = {}
"""


def test_models_of_the_file(file: Path) -> None:
    """A model in the file is added to the built-in ones, with defaults for missing members."""
    file.write_text(MODEL)
    mine = Model(
        "mine",
        64,
        aliases=("my-model",),
        text=TextRules(10, (Truncate.NONE, Truncate.END), sends_truncate=True),
        image=ImageRules(1000, 8, ("image/webp",)),
        audio=AudioRules(),
        endpoint="/embed-mine",
    )
    table = load(config=file).model_table
    assert list(table) == [*BUILT_IN, mine]
    assert table.find("my-model") == mine


def test_replaced_model(file: Path) -> None:
    """A model in the file replaces the built-in model of the same name."""
    file.write_text('[[models]]\nname = "marengo3.0"\ndimensions = 64\n')
    table = load(config=file).model_table
    assert [model.dimensions for model in table] == [64, 512, 1024]


@pytest.mark.parametrize(
    ("models", "place"),
    [
        pytest.param('name = "x"', "models[0].dimensions", id="no dimensions"),
        pytest.param("dimensions = 4", "models[0].name", id="no name"),
        pytest.param('name = "x"\ndimensions = "many"', "models[0].dimensions", id="dimensions in words"),
        pytest.param('name = "x"\ndimensions = 4\ncolour = 1', "models[0].colour", id="unknown member"),
        pytest.param('name = "x"\ndimensions = 4\naudio = {a = 1}', "models[0].audio.a", id="unknown member of audio"),
        pytest.param(
            'name = "x"\ndimensions = 4\ntext = {max_tokens = 1, truncates = ["middle"]}',
            "models[0].text.truncates[0]",
            id="unknown truncate",
        ),
        pytest.param('name = "marengo2.7"\ndimensions = 4', "models", id="name that is another's alias"),
    ],
)
def test_wrong_models(file: Path, models: str, place: str) -> None:
    """An invalid row of the table is refused with its position in the file."""
    file.write_text(f"[[models]]\n{models}\n")
    assert list(faults(config=file)) == [place]


def test_models_come_from_the_file_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable for models is refused without its content in the message."""
    monkeypatch.setenv("EMBEDWIRE_MODELS", '[{"name": "CANARY", "dimensions": 4}]')
    with pytest.raises(ValueError, match="models") as caught:
        load()

    assert "CANARY" not in str(caught.value)
