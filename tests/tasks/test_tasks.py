"""Tasks are found as folders and as packages; what is wrong with one stops nothing else."""

import subprocess
import sys
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from genarium.catalogue import find_checkpoints
from genarium.cli import add_task
from genarium.errors import InputError
from genarium.families import discover as discover_families
from genarium.runtime import Request, Runtime, Several
from genarium.tasks import Task, discovery, find_tasks, tasks_of
from genarium.ui import build_app
from genarium.ui.pages import Current, open_page

LINE_UP = {
    "task": """
        from genarium.tasks import Task
        TASK = Task("line_up", method="__call__", draws=True, compares=True, address="line-up")
    """,
    "panel": """
        import gradio as gr
        opened = []
        def build(page):
            opened.append((page.checkpoint, page.picture))
            gr.Textbox(page.checkpoint, label=page.texts("question"))
    """,
}


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Pretend that a package with these modules offers a task by an entry point -> nothing."""
    points = []

    def put(name: str, texts: str = "", **modules: str) -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "__init__.py").touch()
        for module, text in modules.items():
            indent = len(text) - len(text.lstrip())
            lines = [line[indent - 1 :] if line.strip() else "" for line in text.splitlines()]
            (folder / f"{module}.py").write_text("\n".join(lines))
        if texts:
            (folder / "texts.yaml").write_text(texts)
        points.append(SimpleNamespace(name=name, value=name, dist=SimpleNamespace(name=f"the-{name}")))

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(discovery, "entry_points", lambda group: points)
    find_tasks.cache_clear()
    yield put
    find_tasks.cache_clear()
    for name in [m for m in sys.modules if m.partition(".")[0] in {point.name for point in points}]:
        del sys.modules[name]


def test_help_imports_neither_torch_nor_gradio():
    program = (
        "import sys, genarium.cli\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(genarium.cli.app, ['--help']).exit_code == 0\n"
        "assert CliRunner().invoke(genarium.cli.app, ['swap', '--help']).exit_code == 0\n"
        "assert not {'torch', 'gradio', 'diffusers', 'numpy'} & set(sys.modules), 'these take seconds'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_the_tasks_of_this_repository_come_in_order_and_have_their_parts():
    tasks = find_tasks()
    assert list(tasks) == [
        "generate",
        "reconstruct",
        "interpolate",
        "swap_style",
        "anomaly",
        "check",
        "explore",
        "compare",
        "lab",
        "train",
    ]
    assert not tasks.broken
    for task in tasks.values():
        assert {"tab", "intro"} <= set(task.texts())
        if task.address:
            assert task.part("panel") is not None and not task.method
            continue
        for part in ("command", "endpoint", "panel_image", "panel_audio"):
            assert task.part(part) is not None, (task.name, part)
        assert task.part("no_such_part") is None


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ({"task": "\n    raise OSError('no disk')\n"}, "OSError: no disk"),
        ({"task": "\n    TASK = 3\n"}, "must set TASK"),
        ({"task": "\n    from genarium.tasks import Task\n    TASK = Task('Odd Name')\n"}, "lower-case"),
        (
            {"task": "\n    from genarium.tasks import Task\n    TASK = Task('new', command='swap')\n"},
            "'swap' is taken",
        ),
        ({"task": "\n    from genarium.tasks import Task\n    TASK = Task('new', inputs=('a',))\n"}, "name the method"),
        ({}, "ModuleNotFoundError"),
    ],
)
def test_a_broken_task_is_reported_and_the_others_work(install, modules, reason):
    usual = list(find_tasks())
    find_tasks.cache_clear()
    install("odd", **modules)
    tasks = find_tasks()
    assert list(tasks) == usual and len(tasks.broken) == 1
    assert tasks.broken[0].origin == "package the-odd (odd)" and reason in tasks.broken[0].reason


def test_a_part_that_cannot_be_imported_leaves_its_task_out_of_the_page(install, tiny_checkpoints, families):
    task = "\n    from genarium.tasks import Task\n    TASK = Task('new', method='reconstruct', inputs=('images',))\n"
    install("odd", task=task, panel_image="\n    import no_such_module\n")
    app, _ = build_app(Runtime(find_checkpoints(families), device="cpu"))
    assert "new" not in [b.id for b in app.blocks.values() if isinstance(b, gr.Tab)]
    assert any("no_such_module" in str(b.value) for b in app.blocks.values() if isinstance(b, gr.HTML))


def test_a_command_that_cannot_be_imported_stops_no_other(install, capsys):
    install(
        "odd",
        task="\n    from genarium.tasks import Task\n    TASK = Task('new', command='new')\n",
        command="\n    1/0\n",
    )
    add_task(None, find_tasks()["new"])
    assert "The command new is not available: package the-odd (odd): division by zero" in capsys.readouterr().err


def test_a_task_can_ask_something_else_of_a_pipeline_than_a_method(install, families):
    task = """
        from genarium.tasks import Task
        TASK = Task("look_inside", fits=lambda pipeline_class: "VAE" in pipeline_class.__name__)
    """
    install("inside", task=task)
    able = {f.name for f in families if "look_inside" in {t.name for t in tasks_of(f.pipeline_class())}}
    assert "vae" in able and "ddpm" not in able


# ---- pages, and several checkpoints ----


def test_a_page_has_an_address_and_is_built_when_it_is_opened(install, tiny_checkpoints):
    install("line_up", texts="tab: {en: Line up, zh: 并排}\nquestion: {en: Which, zh: 哪一个}\n", **LINE_UP)
    runtime = Runtime(find_checkpoints(discover_families(installed=False)), device="cpu")
    app, look = build_app(runtime)
    assert ("line-up", "Line up", True) in app.pages and "line_up.panel" not in sys.modules
    assert "Which" in look["i18n"].translations["en"].values()
    layout = app.get_config_file()["page"]["line-up"]
    opens = [fn for fn in app.fns.values() if fn.renderable is not None and fn._id in layout["dependencies"]]
    assert len(opens) == 1
    shown = [b for b in app.blocks.values() if isinstance(b, gr.HTML) and "masthead" in str(b.value)]
    assert len(shown) == len(app.pages), "each page has its head"
    with gr.Blocks():
        opens[0].renderable.fn("tiny-ddpm", "/etc/passwd")
    import line_up.panel

    assert line_up.panel.opened == [("tiny-ddpm", "")], "the page shows no file that a browser only claims to have sent"
    assert not any(isinstance(b, gr.Tab) and b.id == "line_up" for b in app.blocks.values())


def test_tabs_remember_the_current_checkpoint_and_picture_for_pages(tiny_checkpoints, families, tmp_path, monkeypatch):
    runtime = Runtime(find_checkpoints(families), device="cpu")
    with gr.Blocks():
        current = Current()
        checkpoint = runtime.catalogue["tiny-vae"]
        updates = current.remember(checkpoint, {"images": "/somewhere/a.png"})
        assert updates == {current.checkpoint: "tiny-vae", current.picture: "/somewhere/a.png"}
        assert current.remember(checkpoint, {}) == {current.checkpoint: "tiny-vae"}
        monkeypatch.setattr("genarium.ui.pages.get_upload_folder", lambda: str(tmp_path))
        (tmp_path / "a.png").touch()
        task = find_tasks()["reconstruct"]
        page = open_page(task, runtime, None, current, "tiny-vae", str(tmp_path / "a.png"))
        assert (page.checkpoint, page.picture) == ("tiny-vae", str(tmp_path / "a.png"))
        for claimed in ("no such", None, 3, ["tiny-vae"]):
            page = open_page(task, runtime, None, current, claimed, claimed)
            assert page.checkpoint == next(iter(runtime.catalogue.offering("reconstruct"))) and page.picture == ""


def test_a_request_of_several_checkpoints_gives_what_each_gives_alone(install, tiny_checkpoints):
    install("line_up", **LINE_UP)
    runtime = Runtime(find_checkpoints(discover_families(installed=False)), device="cpu")
    request = Request("tiny-vae", "line_up", 3, 2, (0, 1), {"num_inference_steps": 2}, others=("tiny-ddpm",))
    events = list(runtime.stream(request))
    together = events[-1]
    assert isinstance(together, Several) and together.request == request and together.num_samples == 4
    assert {event.checkpoint for event in events[:-1] if event.step} == {"tiny-vae", "tiny-ddpm"}
    for result, name, parameters in zip(
        together.results, request.checkpoints, ({}, {"num_inference_steps": 2}), strict=True
    ):
        alone = runtime.run(Request(name, "generate", 3, 2, (0, 1), parameters))
        assert result.request.checkpoint == name and not result.request.others
        assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(result.pictures, alone.pictures))
    assert Request.from_dict(request.to_dict()) == request and request.to_dict()["others"] == ("tiny-ddpm",)
    assert "others" not in Request("tiny-vae", "line_up").to_dict(), "the metadata of one checkpoint stay as they were"
    with pytest.raises(InputError, match="num_nonsense: not a parameter of any"):
        runtime.run(Request("tiny-vae", "line_up", parameters={"num_nonsense": 1}, others=("tiny-ddpm",)))
    with pytest.raises(InputError, match="generate: takes one checkpoint, not 2"):
        runtime.run(Request("tiny-vae", "generate", others=("tiny-ddpm",)))


def test_a_task_knows_which_input_may_be_a_list():
    assert Task("t", "m", ("images",)).many == "images" and Task("t", "m", ("a", "b")).many is None
    assert Task("t", "m", ("images",)).on("audio").inputs == ("audio",)
