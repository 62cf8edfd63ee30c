#!/bin/sh
# SPDX-License-Identifier: ISC
#
# Runs Debian's Postfix, tuned by bench/postfix/main.cf, without installing it:
#
#   bench/postfix.sh start DIR PORT NEXTHOP     NEXTHOP as relayhost has it: [127.0.0.1]:2626
#   bench/postfix.sh stop DIR
#   bench/postfix.sh fetch                      only fetches and unpacks the package
#
# The package and the libraries that the machine lacks are fetched with apt and unpacked under build/peers/postfix (or
# $POSTFIX_PACKAGE). Queue, data, log and configuration lie in DIR. The users postfix and postdrop exist only in a mount
# namespace of its own, in copies of /etc/passwd and /etc/group. $POSTFIX_PRELOAD is handed on as LD_PRELOAD. Needs root.
# DIR/master.pid holds the pid of Postfix's master.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
package=${POSTFIX_PACKAGE:-$(dirname "$here")/build/peers/postfix}
libraries=$package/usr/lib/postfix:$package/usr/lib/x86_64-linux-gnu:$package/lib/x86_64-linux-gnu

die() {
	echo "postfix.sh: $*" >&2
	exit 2
}

# One Debian package into $package.
unpack() {
	(
		cd "$package.debs"
		apt-get download -qq -o APT::Sandbox::User=root "$1" >/dev/null || exit 1
		dpkg -x "$1"_*.deb "$package"
	) || die "cannot fetch the package $1"
}

lacking() {
	LD_LIBRARY_PATH=$libraries ldd "$package"/usr/lib/postfix/sbin/smtpd "$package"/usr/lib/postfix/sbin/smtp |
		awk '/not found/ { print $1 }' | sort -u
}

fetch() {
	[ -e "$package/.complete" ] && return
	mkdir -p "$package" "$package.debs"
	unpack postfix
	if [ -n "$(lacking)" ]; then
		for name in libdb5.3 libicu72 libnsl2 libsasl2-2 libtirpc3 libssl3; do
			unpack "$name"
		done
	fi
	[ -z "$(lacking)" ] || die "libraries not found: $(lacking | tr '\n' ' ')"
	rm -rf "$package.debs"
	: >"$package/.complete"
}

# Two ids that nobody has.
free_id() {
	id=$1
	while getent passwd "$id" >/dev/null || getent group "$id" >/dev/null; do
		id=$((id + 1))
	done
	echo "$id"
}

configure() {
	dir=$1 port=$2 nexthop=$3
	mkdir -p "$dir/etc" "$dir/queue" "$dir/data" "$dir/log"
	for file in main.cf master.cf; do
		sed -e "s|@DIR@|$dir|g" -e "s|@PACKAGE@|$package|g" -e "s|@PORT@|$port|g" -e "s|@NEXTHOP@|$nexthop|g" \
			"$here/postfix/$file" >"$dir/etc/$file"
		# TLS and DNS, written by bench/secure.py or bench/outward.py. What is set there is taken out first: each
		# process of Postfix warns of a setting that stands twice, and postlogd can wait for itself over that.
		[ -e "$dir/etc/$file.more" ] || continue
		awk -F '[ =]' 'NR == FNR { set[$1] = /^[a-z]/; next } !set[$1]' "$dir/etc/$file.more" "$dir/etc/$file" >"$dir/etc/$file.new"
		cat "$dir/etc/$file.new" "$dir/etc/$file.more" >"$dir/etc/$file"
		rm "$dir/etc/$file.new"
	done
	: >"$dir/etc/dynamicmaps.cf"
	[ -e "$dir/etc/transport" ] || : >"$dir/etc/transport"
	owner=$(free_id 61001)
	drop=$(free_id $((owner + 1)))
	cp /etc/passwd "$dir/etc/passwd.copy"
	cp /etc/group "$dir/etc/group.copy"
	echo "postfix:x:$owner:$owner::/nonexistent:/usr/sbin/nologin" >>"$dir/etc/passwd.copy"
	printf 'postfix:x:%s:\npostdrop:x:%s:\n' "$owner" "$drop" >>"$dir/etc/group.copy"
	# Who has mailboxes, written by bench/mailboxes.py.
	for file in passwd group; do
		[ ! -e "$dir/etc/$file.more" ] || cat "$dir/etc/$file.more" >>"$dir/etc/$file.copy"
	done
	(
		cd "$dir/queue"
		mkdir -p active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace
		chown "$owner:$owner" active bounce corrupt defer deferred flush hold incoming private saved trace
		chmod 700 active bounce corrupt defer deferred flush hold incoming private saved trace
		chown "$owner:$drop" maildrop public
		chmod 730 maildrop
		chmod 710 public
	)
	chown "$owner:$owner" "$dir/data"
	chmod 700 "$dir/data"
	chmod 755 "$dir" "$dir/etc" "$dir/queue" "$dir/log"
}

# The folders above DIR must let the user postfix pass; said now rather than as a riddle in the log.
check_path() {
	path=$1
	while [ "$path" != / ]; do
		case $(stat -c %A "$path") in
		*x | *t) ;;
		*) die "$path cannot be entered by other users" ;;
		esac
		path=$(dirname "$path")
	done
}

start() {
	[ "$(id -u)" = 0 ] || die "needs root"
	mkdir -p "$1"
	dir=$(cd "$1" && pwd)
	fetch
	configure "$dir" "$2" "$3"
	check_path "$dir"
	check_path "$package"
	# shellcheck disable=SC2016
	LD_LIBRARY_PATH=$libraries PRELOAD=${POSTFIX_PRELOAD:-} SLOWSYNC_MS=${SLOWSYNC_MS:-} DIR=$dir \
		MASTER=$package/usr/lib/postfix/sbin/master \
		setsid unshare --mount --propagation private /bin/sh -c '
			mount --bind "$DIR/etc/passwd.copy" /etc/passwd &&
			mount --bind "$DIR/etc/group.copy" /etc/group || exit 2
			# Names are asked of a resolver of its own, written by bench/outward.py.
			[ ! -e "$DIR/etc/resolv.conf" ] || mount --bind "$DIR/etc/resolv.conf" /etc/resolv.conf || exit 2
			echo $$ >"$DIR/master.pid"
			if [ -n "$PRELOAD" ]; then
				LD_PRELOAD=$PRELOAD
				export LD_PRELOAD
			fi
			exec "$MASTER" -c "$DIR/etc"' >"$dir/log/master.out" 2>&1 </dev/null &
	wait_started "$dir" "$2"
}

wait_started() {
	tries=0
	while [ $tries -lt 100 ]; do
		sleep 0.1
		if [ -e "$1/master.pid" ] && ! kill -0 "$(cat "$1/master.pid")" 2>/dev/null; then
			break
		fi
		if ss -Hltn "sport = :$2" 2>/dev/null | grep -q . || grep -q 'daemon started' "$1/log/mail.log" 2>/dev/null; then
			return
		fi
		tries=$((tries + 1))
	done
	cat "$1/log/master.out" "$1/log/mail.log" >&2 2>/dev/null || true
	die "Postfix did not start"
}

# Ends the master, which ends its daemons, and waits for it.
stop() {
	[ -e "$1/master.pid" ] || return 0
	pid=$(cat "$1/master.pid")
	# The pid may be another process's by now: only one that runs with this configuration is ours.
	if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "/master -c"; then
		kill -TERM "$pid"
		tries=0
		while kill -0 "$pid" 2>/dev/null && [ $tries -lt 100 ]; do
			sleep 0.1
			tries=$((tries + 1))
		done
	fi
	rm -f "$1/master.pid"
}

case "${1:-}:$#" in
start:4) start "$2" "$3" "$4" ;;
stop:2) stop "$2" ;;
fetch:1) fetch ;;
*) die "usage: start DIR PORT NEXTHOP | stop DIR | fetch" ;;
esac
