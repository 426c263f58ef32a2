"""Run with `python3 -m unittest` in this directory; needs neither database nor packages."""

import datetime
import http.client
import json
import threading
import unittest
import urllib.parse

import app
import store


class FakeDatabase:
    """Speaks as much SQL as the program asks for; can be broken on purpose."""

    def __init__(self):
        self.rows, self.broken, self.connections = [], False, 0

    def connect(self):
        self.connections += 1
        return FakeConnection(self)


class FakeConnection:
    def __init__(self, database):
        self.database, self.dead = database, False

    def run(self, sql, **values):
        if self.dead or self.database.broken:
            self.dead = True
            raise ConnectionError("the database is away")
        if sql.startswith("INSERT"):
            row = [len(self.database.rows) + 1, values["name"], values["message"],
                   datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)]
            self.database.rows.append(row)
            return [row]
        return self.database.rows[::-1] if sql.startswith("SELECT id") else []

    def close(self):
        self.dead = True


class FakeViews:
    def __init__(self):
        self.value = 1233

    def count(self):
        self.value += 1
        return self.value


class Guestbook(unittest.TestCase):
    def setUp(self):
        self.database = FakeDatabase()
        app.Handler.log_message = lambda *_: None
        self.server = app.Server(store.Entries({}, self.database.connect), FakeViews(), 0)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=5)

    def tearDown(self):
        self.connection.close()
        self.server.stop()
        self.thread.join()
        self.server.server_close()

    def ask(self, method, path, body=None, **headers):
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer, answer.read().decode()

    def sign(self, **fields):
        body = urllib.parse.urlencode(fields)
        return self.ask("POST", "/", body, **{"Content-Type": "application/x-www-form-urlencoded"})

    def test_an_entry_is_written_and_shown_escaped(self):
        answer, _ = self.sign(name="Ada <b>", message="1 < 2\n$name {x}")
        self.assertEqual((answer.status, answer.headers["Location"]), (303, "/"))
        answer, page = self.ask("GET", "/")
        self.assertEqual(answer.status, 200)
        self.assertIn("<strong>Ada &lt;b&gt;</strong>", page)
        self.assertIn("1 &lt; 2\n$name {x}", page)
        self.assertIn("1,234 views", page)
        self.assertIn('datetime="2026-01-02T03:04:05+00:00"', page)

    def test_what_was_entered_is_kept_when_it_is_refused(self):
        answer, page = self.sign(name="Ada", message=" ")
        self.assertEqual(answer.status, 422)
        self.assertIn('role="alert"', page)
        self.assertIn('value="Ada"', page)
        answer, page = self.sign(name="Ada", message="x" * 501)
        self.assertIn("At most 60 characters", page)

    def test_a_form_of_another_site_is_refused(self):
        answer, _ = self.ask("POST", "/", "name=a&message=b", **{"Sec-Fetch-Site": "cross-site"})
        self.assertEqual((answer.status, self.database.rows), (422, []))

    def test_the_api_speaks_json(self):
        answer, body = self.ask("POST", "/api/entries", json.dumps({"name": "Ada", "message": "hi"}))
        self.assertEqual((answer.status, json.loads(body)["id"]), (201, 1))
        _, body = self.ask("GET", "/api/entries")
        self.assertEqual([entry["name"] for entry in json.loads(body)["entries"]], ["Ada"])
        for bad in ("", "[1]", "{", '{"name": "Ada"}'):
            answer, body = self.ask("POST", "/api/entries", bad)
            self.assertEqual(answer.status, 422, bad)
            self.assertIn("error", json.loads(body))

    def test_a_body_that_is_too_large_is_refused(self):
        answer, body = self.ask("POST", "/api/entries", "x" * (app.BODY_LIMIT + 1))
        self.assertEqual(answer.status, 422)
        self.assertIn("at most 16384 bytes", body)

    def test_without_the_database_the_process_is_healthy_and_says_what_is_missing(self):
        self.ask("GET", "/")
        self.database.broken = True
        self.assertEqual(self.ask("GET", "/health")[0].status, 200)
        answer, body = self.ask("GET", "/")
        self.assertEqual(answer.status, 503)
        self.assertIn("database cannot be reached", body)
        self.database.broken = False
        self.assertEqual(self.ask("GET", "/")[0].status, 200)
        self.assertEqual(self.database.connections, 3)

    def test_an_unknown_page_and_the_head_of_a_known_one(self):
        self.assertEqual(self.ask("GET", "/nope")[0].status, 404)
        answer, body = self.ask("HEAD", "/")
        self.assertEqual((answer.status, body), (200, ""))


if __name__ == "__main__":
    unittest.main()
