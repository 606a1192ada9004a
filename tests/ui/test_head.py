"""What the HTML says before a script runs, and how many bytes of it go over the wire."""

import re

import PIL.Image
from gradio import routes

from genarium.ui.head import DESCRIPTION, ICON, PREVIEW, TEMPLATES, describe_pages, described, without_twins

MOST = 250_000  # bytes of the first page's HTML, compressed


def test_gradios_templates_describe_this_app():
    describe_pages()
    for name in TEMPLATES:
        text = routes.templates.env.loader.get_source(routes.templates.env, name)[0]
        assert len(re.findall("<title>", text)) == 1 and text.count(DESCRIPTION) == 2
        assert "Click to try out" not in text and "@Gradio" not in text and "gradio.app/" not in text
        assert text.index("charset") < text.index("<title>"), "browsers look for it in the first 1024 bytes"
        assert text.count('property="og:image"') == text.count('name="twitter:card"') == 1


def test_only_the_description_changes():
    before = '<head><meta charset="utf-8" /><meta\nname="viewport" content="a" /><meta property="og:x"\ncontent="y" /></head>'
    after = described(before)
    assert '<meta\nname="viewport" content="a" />' in after and "og:x" not in after and after.endswith("</head>")


def test_chinese_words_are_sent_once(served):
    words = {"en": {"run": "Run"}, "zh": {"run": "运行"}, "zh-CN": {"run": "运行"}, "zh-TW": {"run": "執行"}}
    brief = without_twins({"title": "x", "i18n_translations": words})
    assert brief == {"title": "x", "i18n_translations": {name: words[name] for name in ("en", "zh", "zh-TW")}}
    assert without_twins({"title": "x", "i18n_translations": None}) == {"title": "x", "i18n_translations": None}
    page = served.http.get("/").text
    sent = re.findall(r'"(en|zh[-TWCN]*)": ?\{"', page)
    assert sorted(sent) == ["en", "zh"], "the page copies the words of the others"
    assert served.http.get("/config").json()["i18n_translations"]["zh-CN"], "programs get them all"


def test_a_page_goes_over_the_wire_compressed(served):
    answer = served.http.get("/", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip" and "accept-encoding" in answer.headers["vary"].lower()
    assert int(answer.headers["content-length"]) < MOST < len(answer.content)
    for page in ("compare", "explore", "lab"):
        assert int(served.http.get(f"/{page}").headers["content-length"]) < MOST
    whole = served.http.get("/", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in whole.headers
    assert 'property="og:image" content="http://' in whole.text and "<title>Genarium</title>" in whole.text
    config = served.http.get("/config", headers={"accept-encoding": "gzip"})
    assert config.headers["content-encoding"] == "gzip" and config.json()["title"] == "Genarium"


def test_what_is_compressed_already_and_streams_stay_as_they_are(served):
    preview = served.http.get("/preview.png", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in preview.headers and preview.content == PREVIEW.read_bytes()
    with served.http.stream("GET", "/gradio_api/heartbeat/nobody", headers={"accept-encoding": "gzip"}) as beat:
        assert beat.headers["content-type"].startswith("text/event-stream") and "content-encoding" not in beat.headers


def test_pictures_have_the_sizes_that_are_asked_for(served):
    assert PIL.Image.open(PREVIEW).size == (1200, 630) and PREVIEW.stat().st_size < 100_000
    assert PIL.Image.open(ICON).size == (256, 256)
    assert served.http.get("/favicon.ico").content == ICON.read_bytes()
