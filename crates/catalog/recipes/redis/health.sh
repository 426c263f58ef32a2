#!/bin/sh
# Healthy when Redis answers; a demand for a password is an answer too.
case $(redis-cli ping 2>&1) in
PONG | NOAUTH*) exit 0 ;;
*) exit 1 ;;
esac
