import contextlib
import http.server
import socket
import sys
import threading
import time

import pytest
from mltbench import __main__
from mltbench.benchmark.runs.provenance import command_line
from mltbench.benchmark.tracking.store import open_store
from mltbench.errors import InputError, without_password

SECRET = "s3cret"


@contextlib.contextmanager
def listening(answer=None):
    """A port that takes connections, and says `answer` or nothing at all; gives its number."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(1000)
                        connection.sendall(answer)

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@contextlib.contextmanager
def healthy(*, answers=True):
    """A server that is well, and answers as MLflow's does or never; gives its port and the paths that were asked."""
    asked, over = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.end_headers()

        def do_POST(self):
            if not answers:
                over.wait(20)
                return
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        over.set()
        server.shutdown()


@pytest.fixture(params=["closed", "silent"])
def dead(request):
    """A port at which no tracking server is."""
    if request.param == "closed":
        with socket.create_server(("127.0.0.1", 0)) as server:
            number = server.getsockname()[1]
        yield number
    else:
        with listening() as number:
            yield number


@pytest.mark.parametrize("command", ["runs list", "report", "run --method erm --dry-run"])
def test_a_server_that_does_not_answer_is_an_error_within_five_seconds(
    dead, command, monkeypatch, capsys, tmp_path, data_root
):
    monkeypatch.setenv("MLTBENCH_DATA", str(data_root))
    monkeypatch.chdir(tmp_path)
    uri = f"http://127.0.0.1:{dead}"
    monkeypatch.setattr(sys, "argv", ["mltbench", *command.split(), "--tracking-uri", uri])
    before = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert time.monotonic() - before < 5
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: the tracking server http://127.0.0.1:{dead} does not answer")
    assert "--tracking-uri" in shown.err
    assert shown.err.count("\n") == 1


def test_the_error_keeps_the_password_to_itself(dead, tmp_path):
    with pytest.raises(InputError) as caught:
        open_store(tmp_path, f"http://user:{SECRET}@127.0.0.1:{dead}")
    assert f"http://user:***@127.0.0.1:{dead}" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_environment_names_the_server_too(monkeypatch, tmp_path):
    with listening() as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        with pytest.raises(InputError, match=f"127.0.0.1:{port} does not answer"):
            open_store(tmp_path)
        with (
            listening(b"no web server") as given,
            pytest.raises(InputError, match=f"127.0.0.1:{given} does not answer"),
        ):
            open_store(tmp_path, f"http://127.0.0.1:{given}")


@pytest.mark.parametrize("user", ["", f"user:{SECRET}@"])
def test_a_server_that_answers_is_taken(user, tmp_path):
    with healthy() as (port, asked):
        uri = f"http://{user}127.0.0.1:{port}"
        assert open_store(tmp_path, uri).tracking_uri == uri
    assert asked[0][0] == "/health"


def test_a_server_that_wants_a_login_is_an_input_error(tmp_path):
    refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    with listening(refusal) as port, pytest.raises(InputError, match="401"):
        open_store(tmp_path, f"http://127.0.0.1:{port}")


def test_a_proxy_without_its_server_is_an_input_error(tmp_path):
    refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    with listening(refusal) as port, pytest.raises(InputError, match=r"does not answer .*503"):
        open_store(tmp_path, f"http://127.0.0.1:{port}")


def test_a_server_that_is_healthy_but_never_answers_is_an_error_within_five_seconds(tmp_path):
    before = time.monotonic()
    with healthy(answers=False) as (port, _), pytest.raises(InputError, match="MLflow cannot open"):
        open_store(tmp_path, f"http://127.0.0.1:{port}")
    assert time.monotonic() - before < 5


def test_something_that_is_no_web_server_is_an_input_error(tmp_path):
    with listening(b"SSH-2.0-hello\r\n\r\n") as port, pytest.raises(InputError, match="does not answer"):
        open_store(tmp_path, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"http://user:{SECRET}@host:5000/x", "http://user:***@host:5000/x"),
        (f"http://user:p@{SECRET}@host", "http://user:***@host"),
        (f"postgresql+psycopg2://user:{SECRET}@host/base?a=b", "postgresql+psycopg2://user:***@host/base?a=b"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
    ],
)
def test_passwords_are_not_shown(uri, shown):
    assert without_password(uri) == shown


@pytest.mark.parametrize("form", ["--tracking-uri {}", "--tracking-uri={}"])
def test_passwords_are_not_recorded(form, monkeypatch):
    uri = f"http://user:{SECRET}@host:5000"
    monkeypatch.setattr(sys, "argv", ["mltbench", "run", "--table", "1", *form.format(uri).split(" ")])
    assert command_line().startswith("mltbench run --table 1 --tracking-uri")
    assert SECRET not in command_line()
