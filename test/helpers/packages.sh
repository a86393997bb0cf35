#!/bin/sh
# Installs the Debian packages that the tests and the bench need and that are missing. Without root, or on another
# system, it says what is wanted and fails: a test that cannot run is no test that passed.
set -eu

wanted='runc crun conmon busybox-static catatonit'
# What the launcher is linked with.
wanted="$wanted musl-dev"
# podman-*.test.ts: the engine, its network helper, sub-ids for users without root.
wanted="$wanted podman netavark uidmap"
# journald.test.ts: a journald of its own.
wanted="$wanted systemd"
# What docs, packages and their tests are made with.
wanted="$wanted go-md2man dpkg-dev rpm"
# Checkpoints to restore from.
wanted="$wanted criu"
# What each brings, to find it also where somebody installed it by hand.
have() {
	case $1 in
	uidmap) [ -x /usr/bin/newuidmap ] ;;
	dpkg-dev) [ -x /usr/bin/dpkg-shlibdeps ] ;;
	rpm) [ -x /usr/bin/rpmbuild ] ;;
	netavark) [ -x /usr/lib/podman/netavark ] || [ -x /usr/libexec/podman/netavark ] ;;
	musl-dev) [ -e "/usr/lib/$(uname -m)-linux-musl/libc.a" ] ;;
	systemd) [ -x /lib/systemd/systemd-journald ] && [ -x /usr/bin/journalctl ] ;;
	busybox-static) [ -x /bin/busybox ] || [ -x /usr/bin/busybox ] ;;
	*) [ -x "/usr/bin/$1" ] || [ -x "/usr/sbin/$1" ] || [ -x "/usr/local/bin/$1" ] || [ -x "/usr/local/sbin/$1" ] ;;
	esac
}

missing=
for package in $wanted; do
	have "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "packages: missing:$missing (install them, e.g. as root: apt-get install$missing)" >&2
	exit 1
fi
echo "packages: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# The package lists of a fresh machine may be old or empty.
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
