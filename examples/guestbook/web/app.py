"""A guestbook served by the standard library.

GET /   POST /   GET /api/entries   POST /api/entries   GET /health
"""

import html
import json
import os
import signal
import string
import sys
import threading
import urllib.parse
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = int(os.environ.get("PORT", "8080"))
BODY_LIMIT, NAME_LIMIT, MESSAGE_LIMIT = 16 * 1024, 60, 500
HTML, JSON = "text/html; charset=utf-8", "application/json"
PAGE = string.Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
ITEM = '<li><strong>{name}</strong> <time class="quiet" datetime="{at}">{day}</time><p>{message}</p></li>'


class Invalid(ValueError):
    """What a person entered cannot be taken, and why."""


def validate(name, message):
    name, message = str(name or "").strip(), str(message or "").replace("\r\n", "\n").strip()
    if not name or not message:
        raise Invalid("Please give both a name and a message.")
    if len(name) > NAME_LIMIT or len(message) > MESSAGE_LIMIT:
        raise Invalid(f"At most {NAME_LIMIT} characters for the name and {MESSAGE_LIMIT} for the message.")
    if "\0" in name + message:
        raise Invalid("Please use printable characters only.")
    return name, message


def render(entries, views, problem="", name="", message=""):
    def item(entry):
        safe = {key: html.escape(str(value)) for key, value in entry.items()}
        return ITEM.format(**safe, day=safe["at"][:16].replace("T", " "))

    return PAGE.substitute(
        views="The view counter is resting" if views is None else f"{views:,} views",
        problem=f'<p class="problem" role="alert">{html.escape(problem)}</p>' if problem else "",
        title="Latest entries" if entries else "No entries yet: be the first",
        entries="".join(map(item, entries)), name=html.escape(name), message=html.escape(message))


class Handler(BaseHTTPRequestHandler):
    protocol_version, server_version, sys_version = "HTTP/1.1", "guestbook", ""
    timeout = 75

    def do_GET(self):
        self.dispatch({"/": self.page, "/api/entries": self.list, "/health": self.health})

    do_HEAD = do_GET

    def do_POST(self):
        self.dispatch({"/": self.sign, "/api/entries": self.add})

    def dispatch(self, actions):
        action = actions.get(self.path.partition("?")[0], self.not_found)
        try:
            with self.server.request():
                action()
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True
        except Exception as error:
            print(f"{self.command} {self.path}: {type(error).__name__}: {error}", file=sys.stderr)
            self.answer_json(503, {"error": "the database cannot be reached; try again in a moment"})

    def page(self):
        self.answer(200, render(self.server.entries.latest(), self.server.views.count()), HTML)

    def list(self):
        self.answer_json(200, {"entries": self.server.entries.latest()})

    def health(self):
        # Speaks for this process alone: restarting it would not repair a database.
        self.answer_json(200, {"status": "ok"})

    def not_found(self):
        self.close_connection = self.command == "POST"  # its body stays unread
        self.answer_json(404, {"error": "not found"})

    def sign(self):
        name = message = ""
        try:
            if self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
                self.close_connection = True
                raise Invalid("This form was sent from another site.")
            fields = urllib.parse.parse_qs(self.body())
            name, message = fields.get("name", [""])[0], fields.get("message", [""])[0]
            self.server.entries.add(*validate(name, message))
        except Invalid as problem:
            page = render(self.server.entries.latest(), None, str(problem), name, message)
            return self.answer(422, page, HTML)
        self.answer(303, "", HTML, Location="/")

    def add(self):
        try:
            given = json.loads(self.body())
            if not isinstance(given, dict):
                raise Invalid('Send a JSON object: {"name": "…", "message": "…"}.')
            name, message = validate(given.get("name"), given.get("message"))
        except ValueError as problem:
            return self.answer_json(422, {"error": str(problem)})
        self.answer_json(201, self.server.entries.add(name, message))

    def body(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            self.close_connection = True
            raise Invalid(f"Send a body of at most {BODY_LIMIT} bytes with its length.")
        return self.rfile.read(int(length)).decode("utf-8", "replace")

    def answer_json(self, status, value):
        self.answer(status, json.dumps(value), JSON)

    def answer(self, status, text, kind, **headers):
        content = text.encode()
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store",
                           "X-Content-Type-Options": "nosniff", **headers}.items():
            self.send_header(key, value)
        if self.close_connection or self.server.stopping:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format, *values):
        if self.path != "/health":
            print(f"{self.address_string()} {format % values}")


class Server(ThreadingHTTPServer):
    """Ends without cutting off an answer: requests under way are finished, idle connections are not waited for."""

    daemon_threads = True

    def __init__(self, entries, views, port):
        self.entries, self.views, self.stopping = entries, views, False
        self._under_way, self._changed = 0, threading.Condition()
        super().__init__(("", port), Handler)

    @contextmanager
    def request(self):
        with self._changed:
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def stop(self, limit_seconds=5):
        self.stopping = True
        self.shutdown()
        with self._changed:
            self._changed.wait_for(lambda: self._under_way == 0, limit_seconds)


def main():
    if sys.argv[1:] == ["--check"]:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=2) as response:
            sys.exit(response.status != 200)
    from store import Entries, Views

    server = Server(Entries(os.environ), Views(os.environ), PORT)
    stopper = threading.Thread(target=server.stop)
    signal.signal(signal.SIGTERM, lambda *_: stopper.start())
    print(f"listening on port {PORT}")
    server.serve_forever()
    stopper.join()


if __name__ == "__main__":
    main()
