"""Where entries and the view counter live: PostgreSQL and Redis."""

import sys
import threading

PAGE_SIZE = 50
IDLE_LIMIT = 4
TABLE = """CREATE TABLE IF NOT EXISTS entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL, message text NOT NULL, at timestamptz NOT NULL DEFAULT now())"""


class Entries:
    """Entries in PostgreSQL. A few idle connections are kept; a broken one is replaced."""

    def __init__(self, environ, connect=None):
        self._environ, self._connect = environ, connect or self._connect_to_postgres
        self._idle, self._lock, self._has_table = [], threading.Lock(), False

    def add(self, name, message):
        sql = "INSERT INTO entries (name, message) VALUES (:name, :message) RETURNING id, name, message, at"
        return as_entry(self._run(sql, name=name, message=message)[0])

    def latest(self):
        sql = "SELECT id, name, message, at FROM entries ORDER BY id DESC LIMIT :size"
        return [as_entry(row) for row in self._run(sql, size=PAGE_SIZE)]

    def _run(self, sql, **values):
        connection = self._take()
        try:
            rows = connection.run(sql, **values)
        except BaseException:
            close(connection)
            raise
        with self._lock:
            if len(self._idle) < IDLE_LIMIT:
                self._idle.append(connection)
                return rows
        close(connection)
        return rows

    def _take(self):
        """A connection that answers: after a restart of the database the idle ones are dead."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            try:
                connection.run("SELECT 1")
                return connection
            except Exception:
                close(connection)
        connection = self._connect()
        if not self._has_table:
            connection.run("SELECT pg_advisory_lock(7331)")  # two instances may start at once
            connection.run(TABLE)
            connection.run("SELECT pg_advisory_unlock(7331)")
            self._has_table = True
        return connection

    def _connect_to_postgres(self):
        import pg8000.native

        get = self._environ.get
        password = get("DB_PASSWORD")
        if path := get("DB_PASSWORD_FILE"):
            with open(path, encoding="utf-8") as file:
                password = file.read().rstrip("\n")
        return pg8000.native.Connection(
            get("DB_USER", "postgres"), host=get("DB_HOST", "localhost"), port=int(get("DB_PORT", "5432")),
            database=get("DB_NAME", "postgres"), password=password, timeout=5)


def close(connection):
    try:
        connection.close()
    except Exception:
        pass  # it is broken already


def as_entry(row):
    return {"id": row[0], "name": row[1], "message": row[2], "at": row[3].isoformat(timespec="seconds")}


class Views:
    """A counter in Redis. The page works without it."""

    def __init__(self, environ):
        import redis

        url = environ.get("REDIS_URL", "redis://localhost:6379/0")
        self._redis = redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)

    def count(self):
        try:
            return self._redis.incr("views")
        except Exception as error:
            print(f"no view counter: {error}", file=sys.stderr)
            return None
