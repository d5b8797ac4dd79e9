"""A web server on the loopback that behaves as badly as it is told to.

It serves bytes from memory, with ranges, ETag and If-Range as RFC 9110 wants them. A fault is a function of
the handler and the bytes; faults of a path are used up one a request, or stay for all of them.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

PAGE = b"<!DOCTYPE html><html><head><title>Sorry</title></head><body>%s</body></html>"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server.owner
        path = unquote(urlsplit(self.path).path)
        server.requests.append((path, dict(self.headers)))
        self.close_connection = True
        body = server.files.get(path)
        fault = server.next_fault(path)
        try:
            if fault:
                fault(self, body)
            elif body is None:
                self.answer(404, b"no such file")
            else:
                serve(self, body)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def answer(self, status, body, length=None, **headers):
        """One answer; ``length`` is what is said of it, whatever is sent; negative: nothing is said."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        length = len(body) if length is None else length
        if length >= 0:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *args):
        pass


def serve(handler, body, cut=None, etag='"one"', ranges=True, more=0, content_range=None):
    """The file, or the rest of it; cut off after some bytes, or with more promised than there is."""
    asked, if_range = handler.headers.get("Range"), handler.headers.get("If-Range")
    start, status, headers = 0, 200, {"ETag": etag} if etag else {}
    if ranges and asked and (if_range is None or if_range == etag):
        start, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
        if start >= len(body):
            handler.answer(416, b"beyond", Content_Range=f"bytes */{len(body)}")
            return
        said = content_range or f"bytes {start}-{len(body) - 1}/{len(body)}"
        headers["Content_Range"] = said
    rest = body[start:]
    handler.answer(status, rest[:cut], len(rest) + more, **headers)


def cut(n, **options):
    """The connection ends after n bytes."""
    return lambda handler, body: serve(handler, body, cut=n, **options)


def honest(**options):
    """As it should be, but for some options of :func:`serve`."""
    return lambda handler, body: serve(handler, body, **options)


def short_length(n):
    """The server says, and sends, fewer bytes than the file has."""
    return lambda handler, body: handler.answer(200, body[:n], ETag='"one"')


def no_length(n=None):
    """Nothing is said of the length, and the connection is closed after n bytes."""
    return lambda handler, body: handler.answer(200, body[:n], -1)


def page(text=b"", status=200):
    """A web page instead of the file."""
    return lambda handler, body: handler.answer(status, PAGE % text, Content_Type="text/html")


def busy(status=503, retry_after=None):
    """Come back later."""
    headers = {"Retry_After": retry_after} if retry_after else {}
    return lambda handler, body: handler.answer(status, b"later", **headers)


def redirect(to, status=302):
    """Somewhere else."""
    return lambda handler, body: handler.answer(status, b"", Location=to)


def silent(event):
    """Nothing, until an event."""
    return lambda handler, body: event.wait(20)


def stalled(n, event):
    """n bytes, and the rest after an event."""

    def fault(handler, body):
        serve(handler, body, cut=n)
        event.wait(60)
        handler.wfile.write(body[n:])

    return fault


class FaultyServer:
    """The server, in a thread."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.always: dict[str, object] = {}
        self._faults = defaultdict(deque)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def put(self, path, body, *faults):
        """Serve bytes at a path, after some faults; the address."""
        self.files[path] = body
        self._faults[path].extend(faults)
        return self.url + path

    def next_fault(self, path):
        return self._faults[path].popleft() if self._faults[path] else self.always.get(path)

    def ranges(self, path):
        """The Range header of every request for a path, None where there was none."""
        return [headers.get("Range") for asked, headers in self.requests if asked == path]
