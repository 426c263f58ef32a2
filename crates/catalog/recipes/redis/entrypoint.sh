#!/bin/sh
# Starts Redis as the user `redis` with its data in /data.
set -eu

# `-p 1` and `my.conf` mean: redis-server with these.
case ${1:-} in
-* | *.conf) set -- redis-server "$@" ;;
esac

# Redis keeps strangers out by itself when it has neither a password nor an address to listen on.
# Here the network of the stack does that, so the mode is off unless it is asked for.
leave_protected_mode() {
	for argument in "$@"; do
		case $argument in
		*protected-mode* | -v | --version | -h | --help | --test-memory | --check-system) return 0 ;;
		*.conf) if grep -qi '^[[:space:]]*protected-mode' "$argument" 2>/dev/null; then return 0; fi ;;
		esac
	done
	return 1
}

if [ "${1:-}" = redis-server ]; then
	umask 0077
	if ! leave_protected_mode "$@"; then
		set -- "$@" --protected-mode no
	fi
	if [ "$(id -u)" = 0 ]; then
		find /data \! -user redis -exec chown redis '{}' +
		exec setpriv --reuid=redis --regid=redis --init-groups --no-new-privs -- "$@"
	fi
fi
exec "$@"
