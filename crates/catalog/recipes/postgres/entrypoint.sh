#!/bin/bash
# Starts PostgreSQL; at the first start makes the database from POSTGRES_* and the files in
# /docker-entrypoint-initdb.d. A new database is made in a directory beside its place and moved
# there when it is complete, so that a first start can be killed at any moment and begun again.
set -Eeo pipefail
umask 0077

readonly INIT_FILES=/docker-entrypoint-initdb.d
readonly RUN_DIRECTORY=/run/postgresql

say() { printf 'postgres: %s\n' "$*" >&2; }
fail() {
	say "$1"
	[ -z "${2:-}" ] || say "hint: $2"
	exit 1
}

# Sets the variable NAME from itself, from the file that NAME_FILE names, or to a default.
load() {
	local name=$1 default=${2:-} file="${1}_FILE"
	if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
		fail "both $name and $file are set" "keep one of them"
	fi
	local value=${!name:-$default}
	if [ -n "${!file:-}" ]; then
		[ -r "${!file}" ] || fail "$file names ${!file}, which cannot be read" "check the secret of that name"
		value=$(<"${!file}")
	fi
	export "$name=$value"
	unset "$file"
}

wants_server() {
	local argument
	[ "${1##*/}" = postgres ] || return 1
	for argument in "$@"; do
		case $argument in -\? | --help | --describe-config | -V | --version | -C) return 1 ;; esac
	done
}

# As root: hand the directories to the user `postgres`, then become that user.
become_postgres() {
	mkdir -p "$PGDATA" "$RUN_DIRECTORY"
	chmod 0700 "$PGDATA" 2>/dev/null || :
	chmod 3775 "$RUN_DIRECTORY" 2>/dev/null || :
	if [ -n "${POSTGRES_INITDB_WALDIR:-}" ]; then
		mkdir -p "$POSTGRES_INITDB_WALDIR"
		find "$POSTGRES_INITDB_WALDIR" \! -user postgres -exec chown postgres '{}' +
	fi
	find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
	find "$RUN_DIRECTORY" \! -user postgres -exec chown postgres '{}' +
	load_settings # as root, because secrets may be readable by root alone
	exec setpriv --reuid=postgres --regid=postgres --init-groups --no-new-privs -- "${BASH_SOURCE[0]}" "$@"
}

psql_once() {
	psql --set ON_ERROR_STOP=1 --no-password --no-psqlrc --quiet --username "$POSTGRES_USER" "$@"
}

# Known to files in /docker-entrypoint-initdb.d that were written for the Docker image.
docker_process_sql() { psql_once --dbname "$POSTGRES_DB" "$@"; }

load_settings() {
	load POSTGRES_USER postgres
	load POSTGRES_DB "$POSTGRES_USER"
	load POSTGRES_PASSWORD
	load POSTGRES_INITDB_ARGS
}

check_settings() {
	load_settings
	if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
		fail "there is no database yet and no password for it" \
			"set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE (or POSTGRES_HOST_AUTH_METHOD=trust to let everybody in)"
	fi
	if [ "$POSTGRES_HOST_AUTH_METHOD" = trust ]; then
		say "POSTGRES_HOST_AUTH_METHOD=trust: everybody who reaches this database may do everything with it"
	fi
}

initialise() {
	local place=$1 given=() arguments=()
	[ -z "$POSTGRES_INITDB_ARGS" ] || read -ra given <<<"$POSTGRES_INITDB_ARGS"
	arguments=(--pgdata="$place" --username="$POSTGRES_USER" --auth=trust --encoding=UTF8 --no-sync)
	case $POSTGRES_INITDB_ARGS in
	*locale* | *lc-*) ;;
	*) arguments+=(--locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US) ;;
	esac
	[ -z "${POSTGRES_INITDB_WALDIR:-}" ] || arguments+=(--waldir="$POSTGRES_INITDB_WALDIR")
	if [ -n "$POSTGRES_PASSWORD" ]; then
		# Through a pipe: not in the list of processes, not on disk.
		initdb "${arguments[@]}" "${given[@]}" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD")
	else
		initdb "${arguments[@]}" "${given[@]}"
	fi
	printf '\nlisten_addresses = '\''*'\''\n' >>"$place/postgresql.conf"
	printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$place/pg_hba.conf"
}

run_init_file() {
	local file=$1
	case $file in
	*.sh)
		say "running $file"
		if [ -x "$file" ]; then
			"$file"
		else
			# shellcheck disable=SC1090
			. "$file"
		fi
		;;
	*.sql) say "running $file" && docker_process_sql -f "$file" ;;
	*.sql.gz) say "running $file" && gunzip -c "$file" | docker_process_sql ;;
	*.sql.xz) say "running $file" && xzcat "$file" | docker_process_sql ;;
	*.sql.zst) say "running $file" && zstd -dc "$file" | docker_process_sql ;;
	*) say "ignoring $file" ;;
	esac
}

# A server that only this script reaches: nobody takes the half-made database for a ready one.
fill() {
	local place=$1 file
	local -x PGDATA=$place PGHOST=$place/.socket
	shift
	mkdir -p "$PGHOST"
	local options
	printf -v options '%q ' "$@" -c listen_addresses= -c "unix_socket_directories=$PGHOST" -c port=5432 -c fsync=off
	pg_ctl --pgdata="$place" --options="$options" --wait --timeout=300 --silent start
	if [ "$POSTGRES_DB" != postgres ]; then
		psql_once --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
	fi
	for file in "$INIT_FILES"/*; do
		[ ! -f "$file" ] || run_init_file "$file"
	done
	pg_ctl --pgdata="$place" --mode=fast --wait --timeout=300 --silent stop
	rm -rf "$PGHOST"
	# What an init file wrote into a configuration names the place where the database will be.
	sed -i "s#$place#$(dirname "$place")#g" "$place"/*.conf
}

# Everything moves with one rename each, PG_VERSION last: only with it there is a database.
move_into_place() {
	local new=$1 entry name
	for entry in "$new"/* "$new"/.[!.]*; do
		name=${entry##*/}
		if [ -e "$entry" ] && [ "$name" != PG_VERSION ] && [ "$name" != .complete ]; then
			mv -T -- "$entry" "$PGDATA/$name"
		fi
	done
	sync "$PGDATA"
	mv -T -- "$new/PG_VERSION" "$PGDATA/PG_VERSION"
	sync "$PGDATA"
}

refuse_foreign_content() {
	local entry
	for entry in "$PGDATA"/* "$PGDATA"/.[!.]*; do
		case ${entry##*/} in '*' | '.[!.]*' | lost+found | .juchu-new) ;;
		*) fail "$PGDATA holds ${entry##*/} but no database" "empty it, or set PGDATA to a directory below it" ;; esac
	done
}

first_start() {
	local new=$PGDATA/.juchu-new
	check_settings
	if [ ! -e "$new/.complete" ]; then
		refuse_foreign_content
		if [ -d "$new" ]; then
			say "an earlier first start did not finish; beginning again"
			rm -rf "$new"
			[ -z "${POSTGRES_INITDB_WALDIR:-}" ] || find "$POSTGRES_INITDB_WALDIR" -mindepth 1 -delete
		fi
		mkdir "$new"
		say "making a new database"
		initialise "$new"
		fill "$new" "$@"
		initdb --pgdata="$new" --sync-only >/dev/null # nothing was synced before
		: >"$new/.complete"
		sync "$new/.complete" "$new"
	fi
	move_into_place "$new"
	say "the new database is ready"
}

main() {
	case ${1:-} in -*) set -- postgres "$@" ;; esac
	if wants_server "$@"; then
		[ "$(id -u)" != 0 ] || become_postgres "$@"
		if [ ! -s "$PGDATA/PG_VERSION" ]; then
			first_start "${@:2}"
		fi
		rm -rf "$PGDATA/.juchu-new"
		unset POSTGRES_PASSWORD
		umask 0027
		[ "$(<"$PGDATA/PG_VERSION")" = "$PG_MAJOR" ] ||
			fail "the database in $PGDATA was made by PostgreSQL $(<"$PGDATA/PG_VERSION"), this is $PG_MAJOR" \
				"start it with its own version, dump it with pg_dumpall, and load the dump into a new volume"
	fi
	exec "$@"
}

main "$@"
