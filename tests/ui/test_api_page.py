"""What Gradio's page about the web API shows of this app: programs that run, and no statistics of visitors."""

from genarium.tasks.endpoints import Classes
from genarium.ui.endpoints import _component


def test_the_page_quotes_the_words_for_classes():
    """It puts quotes round a text whose type is `str` or begins as `Literal['`, and shows any other text bare."""
    from gradio_client.utils import json_schema_to_python_type

    for word in ("cycle", "any"):
        place = _component(Classes(word))
        assert place.value == word
        assert json_schema_to_python_type(place.api_info()).startswith("Literal['cycle', 'any'] | str | int | list")


def test_there_is_no_public_statistic(served):
    for path in ("monitoring", "monitoring/summary"):
        assert served.http.get(f"/gradio_api/{path}").status_code == 404
    config = served.http.get("/config").json()
    assert config["footer_links"] == ["api", "settings"] and config["run_history"] is False
