"""More than one may ask for: calls that nobody reads, uploads without end, and files that stay."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from stranger import API, call, post, read, upload

from genarium import paths, temporary
from genarium.runtime import Stop
from genarium.temporary import LOCK, PREFIX, delete_left_over
from genarium.ui import gate, readers
from genarium.ui.endpoints import CALLS
from genarium.ui.readers import Readers
from genarium.ui.storage import STORAGE, Storage

ONE = {"data": ["tiny-vae", 1, "any", 0, {}]}


def until(true, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.05)


def waiting(served) -> int:
    return len(served.blocks._queue.event_ids_to_events)


# ---- calls ----


def test_a_client_s_calls_are_counted(served, monkeypatch):
    monkeypatch.setattr(gate, "CALLS_PER_CLIENT", 3)
    with served.runtime.turn(Stop()):  # nothing is computed meanwhile
        answers = [post(served.http, "generate", ONE) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
        assert "3 of your calls wait or run" in answers[-1].json()["detail"]
    events = [answer.json()["event_id"] for answer in answers[:3]]
    assert [read(served.http, "generate", event)[0] for event in events] == ["complete"] * 3
    until(lambda: waiting(served) == 0)
    assert call(served.http, "generate", *ONE["data"])[0] == "complete"


def test_calls_that_nobody_reads_are_dropped(served, monkeypatch):
    """Those that run end, those that wait never begin, and the next visitor is served."""
    begun = []
    stream = served.runtime.stream
    monkeypatch.setattr(served.runtime, "stream", lambda *a, **k: begun.append(a) or stream(*a, **k))
    monkeypatch.setattr(gate, "CALLS_PER_CLIENT", 100)
    with served.runtime.turn(Stop()):
        for _ in range(CALLS + 4):
            assert post(served.http, "generate", ONE).status_code == 200
        until(lambda: len(begun) == CALLS)  # as many of one endpoint are under way
        monkeypatch.setattr(readers, "GRACE_SECONDS", 0)
        until(lambda: waiting(served) == 0)
    assert len(begun) == CALLS
    monkeypatch.undo()
    assert call(served.http, "generate", *ONE["data"])[0] == "complete"


def test_a_reader_who_leaves_ends_the_run(served, monkeypatch):
    with served.runtime.turn(Stop()):
        event = post(served.http, "generate", ONE).json()["event_id"]
        with served.http.stream("GET", f"{API}/call/generate/{event}"):
            until(lambda: readers.READERS.open(event))
        until(lambda: not readers.READERS.open(event))
        monkeypatch.setattr(readers, "GRACE_SECONDS", 0)
        until(lambda: waiting(served) == 0)


def test_who_reads():
    known = Readers()
    event = SimpleNamespace(alive=True, session_hash="a", enqueue_time=time.monotonic())
    assert not known.left(event), "there is time to come"
    event.enqueue_time -= readers.GRACE_SECONDS + 1
    assert known.left(event)
    with known.reading("a"), known.reading("a"):
        assert known.open("a") and not known.left(event)
    assert not known.open("a") and not known.left(event), "there is time to come back"
    known._last["a"] -= readers.GRACE_SECONDS + 1
    assert known.left(event)


def test_sessions_are_few(served):
    assert served.blocks.state_session_capacity == 256
    sessions = served.blocks.app.state_holder
    sessions.session_data.clear()
    sessions.capacity = 3
    for _ in range(6):
        assert call(served.http, "generate", "no such checkpoint", 1, "any", 0, {})[0] == "error"
    assert len(sessions.session_data) <= 3
    sessions.capacity = 256


def test_no_way_past_the_queue(served):
    for path in ("run/generate", "api/generate", "run/predict", "call/nothing"):
        status = served.http.post(f"{API}/{path}", json={**ONE, "session_hash": "x"}).status_code
        assert 400 <= status < 500, path


# ---- bodies and files ----


def test_bodies_have_an_end(served, monkeypatch):
    monkeypatch.setattr(gate, "MAX_BODY", 1000)
    monkeypatch.setattr(gate, "MAX_UPLOAD_BODY", 2000)
    long = b'{"data": ["' + b"a" * 2000 + b'"]}'
    assert post(served.http, "generate", long).status_code == 413
    pieces = served.http.post(f"{API}/call/generate", content=iter([long[:900], long[900:]]))
    assert pieces.status_code == 413  # no length is announced
    answer = served.http.post(f"{API}/upload", files={"files": ("a.png", b"a" * 3000)})
    assert answer.status_code == 413
    monkeypatch.undo()
    assert Path(upload(served.http, b"a" * 3000)["path"]).is_file()


def test_uploads_at_once_are_counted(served, monkeypatch):
    monkeypatch.setattr(gate, "UPLOADS_PER_CLIENT", 0)
    assert served.http.post(f"{API}/upload", files={"files": ("a.png", b"a")}).status_code == 429


def test_uploads_have_a_budget(served, monkeypatch):
    monkeypatch.setattr(STORAGE, "owner_bytes", 2500)
    given = [Path(upload(served.http, bytes([65 + i]) * 1000)["path"]) for i in range(4)]
    until(lambda: [path.exists() for path in given] == [False, False, True, True])


def test_a_budget(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    files = []
    for i in range(6):
        (tmp_path / str(i)).mkdir()
        files.append(tmp_path / str(i) / "a.png")
        files[i].write_bytes(b"a" * 100)
        os.utime(files[i], (i, i))
    kept = Storage(owner_bytes=250, all_bytes=10**6, owner_files=10, all_files=100)
    for file in files[:3]:
        kept.add("ann", file)
    assert kept.files("ann") == [str(files[1]), str(files[2])] and not files[0].parent.exists()
    kept.add("bob", files[1])  # the same content
    kept.leave("ann")
    assert files[1].exists() and not files[2].exists()
    kept.leave("bob")
    assert not files[1].exists()
    kept.all_bytes = 250
    kept.sweep()
    assert all(file.exists() for file in files[3:]), "the folder is not the app's own"
    (tmp_path / LOCK).touch()
    os.utime(tmp_path / LOCK, (0, 0))
    kept.sweep()
    assert [file.exists() for file in files[3:]] == [False, True, True]
    kept.all_bytes, kept.all_files = 10**6, 1
    kept.sweep()
    assert [file.exists() for file in files[4:]] == [False, True]
    assert (tmp_path / LOCK).exists()
    kept.add("cy", tmp_path / "none")
    assert kept.files("cy") == []


def test_results_go_with_the_visit(served, tmp_path, monkeypatch):
    """Of a page that has been closed, once its browser has had time to come back."""
    monkeypatch.setattr(gate, "VISIT_GRACE_SECONDS", 0.1)
    result = served.folder / "abc" / "result.png"
    result.parent.mkdir()
    result.write_bytes(b"a")
    with served.http.stream("GET", f"{API}/heartbeat/page-one"):
        until(lambda: readers.VISITS.open("page-one"))
        STORAGE.add("visit page-one", result)
        gate.end_visit("page-one")
        assert result.exists()
    until(lambda: not result.exists())


def test_files_of_killed_processes_are_deleted_and_no_others(tmp_path):
    def folder(name: str, lock: bool = True) -> Path:
        made = tmp_path / name
        made.mkdir()
        (made / "a.png").write_bytes(b"a")
        if lock:
            (made / LOCK).touch()
        return made

    killed, alive = folder(f"{PREFIX}killed"), folder(f"{PREFIX}alive")
    others = [folder("other"), folder(f"{PREFIX}without-a-lock", lock=False)]
    temporary._take(alive)
    (tmp_path / f"{PREFIX}link").symlink_to(others[0])
    assert delete_left_over(tmp_path) == [killed]
    assert not killed.exists() and all((kept / "a.png").exists() for kept in (alive, *others))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_temporary_files_end_with_the_process(how, tmp_path):
    """At SIGTERM; and after kill -9 when the next process starts."""
    program = "import os, time; from genarium.temporary import own_folder as f; print(f(), flush=True); time.sleep(60)"
    environment = {k: v for k, v in os.environ.items() if k != "GRADIO_TEMP_DIR"} | {"TMPDIR": str(tmp_path)}
    run = subprocess.Popen(
        [sys.executable, "-c", program], cwd=paths.ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    folder = Path(run.stdout.readline().strip())
    assert folder.parent == tmp_path and delete_left_over(tmp_path) == []
    run.send_signal(how)
    run.wait(30)
    run.stdout.close()
    assert delete_left_over(tmp_path) == ([folder] if how == signal.SIGKILL else [])
    assert not folder.exists()


# ---- what strangers may know ----


def test_what_strangers_may_know(served):
    for path in ("monitoring/summary", "monitoring"):
        assert served.http.get(f"{API}/{path}").status_code >= 400
        assert served.http.get(path).status_code >= 400
    for path in ("config", f"{API}/info"):
        text = served.http.get(path).text
        for folder in (str(paths.ROOT), str(Path.home())):
            assert folder not in text.replace(str(served.folder), ""), path
