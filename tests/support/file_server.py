"""A local server of a folder, which records requests, answers ranges, and fails, waits or breaks off when set to."""

import contextlib
import functools
import http.server
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Site:
    """What a server does, which may be changed while it runs, and what was asked of it."""

    address: str = ""
    asked: list = field(default_factory=list)
    failing: set = field(default_factory=set)
    seconds: float = 0.0
    break_after: int | None = None


class _Handler(http.server.SimpleHTTPRequestHandler):
    site: Site

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.site.asked.append(self.path)
        time.sleep(self.site.seconds)
        path = Path(self.translate_path(self.path))
        if self.path in self.site.failing or not path.is_file():
            return self.send_error(500 if path.is_file() else 404)
        data = path.read_bytes()
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : None if self.site.break_after is None else start + self.site.break_after])


@contextlib.contextmanager
def serving(folder, **behaviour):
    site = Site(**behaviour)
    handler = functools.partial(type("Handler", (_Handler,), {"site": site}), directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
