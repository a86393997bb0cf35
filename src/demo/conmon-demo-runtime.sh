#!/bin/sh
# conmon-demo-runtime: starts the embedded demo OCI runtime (no isolation; for trying out and for tests) with the Node
# that ships with conmon. Works through symlinks, from any directory and without PATH or HOME. What the caller's
# environment says to Node is taken away here; the container's environment comes from its config.json alone.

self=$0
case $self in
*/*) ;;
*) self=./$self ;;
esac
hops=0
while [ -L "$self" ]; do
	hops=$((hops + 1))
	if [ "$hops" -gt 40 ]; then
		echo "conmon-demo-runtime: too many symbolic links: $0" >&2
		exit 1
	fi
	if [ -x /usr/bin/readlink ]; then
		target=$(/usr/bin/readlink "$self" && echo .)
	else
		target=$(/bin/readlink "$self" && echo .)
	fi
	# Both the newline of readlink and the mark that keeps others in place.
	target=${target%??}
	case $target in
	/*) self=$target ;;
	*) self=${self%/*}/$target ;;
	esac
done
libexec=${self%/*}/../libexec/conmon

if [ ! -x "$libexec/node" ]; then
	echo "conmon-demo-runtime: $libexec/node is missing: run \"make build\"" >&2
	exit 1
fi

unset NODE_OPTIONS NODE_PATH NODE_DEBUG NODE_DEBUG_NATIVE NODE_V8_COVERAGE NODE_EXTRA_CA_CERTS NODE_ICU_DATA
unset NODE_REDIRECT_WARNINGS NODE_PENDING_DEPRECATION NODE_PRESERVE_SYMLINKS NODE_PRESERVE_SYMLINKS_MAIN
unset NODE_COMPILE_CACHE NODE_COMPILE_CACHE_PORTABLE NODE_TEST_CONTEXT NODE_CHANNEL_FD NODE_CHANNEL_SERIALIZATION_MODE
unset NODE_UNIQUE_ID NODE_USE_SYSTEM_CA NODE_USE_ENV_PROXY OPENSSL_CONF SSL_CERT_FILE SSL_CERT_DIR
unset UV_THREADPOOL_SIZE UV_USE_IO_URING FORCE_COLOR LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT

exec "$libexec/node" "$libexec/demo-runtime.cjs" "$@"
