/*
 * The launcher's side of a session socket: finds the daemon that runs an exec's container, hands the exec over, and stays
 * with it when the caller waits (--sync). Whatever is not as expected means "not joined": the launcher then starts a
 * daemon as it always did. It never judges the options: the daemon does. Protocol: docs/adr/0035-sessions.md.
 */
#define _GNU_SOURCE
#include "join.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* As in launcher.c. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* Launcher and daemon must be made from the same sources (Makefile). */
#ifndef BUILD_ID
#define BUILD_ID "unknown"
#endif

/* What Podman's and CRI-O's own waits do not notice. */
#ifndef JOIN_LIMIT_MS
#define JOIN_LIMIT_MS 1000
#endif

/* SCM_MAX_FD is 253; three are ours. */
#define ENTRY_FDS_MAX 250
/* The daemon must be able to place it in the runtime, whose limit may be as low as a usual soft limit. */
#define HIGHEST_ENTRY_FD 1023
/* Room for the hand-over's text; the ranges of 250 fds take 1250 bytes at most. */
#define HAND_OVER_BYTES 4096
/* An id up to this length names the socket as it is: with "/proc/self/fd/N/" it fits sun_path. */
#define PLAIN_NAME_MAX 80

#define STATUS_OF_A_KILLED_DAEMON (128 + 9)

/* ---- which exec, of which container ------------------------------------------------------------------------------ */

/* Letters behind one dash, as GOption clusters them. */
static bool is_cluster_with(const char *argument, char letter)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	if (argument[0] != '-' || argument[1] == '\0')
		return false;
	return argument[1 + strspn(argument + 1, letters)] == '\0' && strchr(argument + 1, letter) != NULL;
}

/*
 * The container's id when this looks like an exec, else NULL. A guess: values are not told from options. A wrong guess
 * costs a connection at most, because the daemon parses the arguments and takes only an exec of its own container.
 */
static const char *guess_container(int argc, char **argv)
{
	bool exec = false;
	const char *id = NULL;

	for (int i = 1; i < argc; i++) {
		const char *argument = argv[i];
		if (strcmp(argument, "--exec") == 0 || is_cluster_with(argument, 'e'))
			exec = true;
		if (strncmp(argument, "--cid=", 6) == 0)
			id = argument + 6;
		else if (i + 1 < argc && (strcmp(argument, "--cid") == 0 || is_cluster_with(argument, 'c')))
			id = argv[i + 1];
	}
	return exec ? id : NULL;
}

/* As src/session/session-socket.ts: the id itself, or a hash of one that is long or no plain name. */
static void name_socket(const char *id, char *name, size_t size)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t length = strlen(id);
	uint64_t hash = 0xcbf29ce484222325ULL; /* FNV-1a: names only have to differ, the daemon compares the ids */

	if (length > 0 && length <= PLAIN_NAME_MAX && id[0] != '.' && strspn(id, plain) == length) {
		snprintf(name, size, "%s", id);
		return;
	}
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)id[i]) * 0x100000001b3ULL;
	snprintf(name, size, "hash-%016" PRIx64, hash);
}

/* ---- where ------------------------------------------------------------------------------------------------------- */

/* What a file of /proc begins with, as a string; its length, -1 when it cannot be read. Not stdio, which asks for memory first. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd == -1 ? -1 : read(fd, text, size - 1);

	if (fd != -1)
		close(fd);
	text[length > 0 ? length : 0] = '\0';
	return length;
}

/* root of the machine, and not of a user namespace only. */
static bool is_real_root(void)
{
	static const unsigned long long whole[] = {0, 0, 4294967295ULL};
	char map[64];

	if (geteuid() != 0)
		return false;
	/* One line of 33 bytes when it is so; of a longer map the first line differs. */
	if (read_file("/proc/self/uid_map", map, sizeof(map)) <= 0)
		return false;
	const char *from = map;
	for (size_t i = 0; i < sizeof(whole) / sizeof(*whole); i++) {
		char *end;
		if (strtoull(from, &end, 10) != whole[i] || end == from)
			return false;
		from = end;
	}
	return *from == '\n';
}

static int open_directory(int parent_fd, const char *path, mode_t closed_to)
{
	struct stat info;
	int fd = openat(parent_fd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd != -1 && fstat(fd, &info) == 0 && info.st_uid == geteuid() && (info.st_mode & closed_to) == 0)
		return fd;
	if (fd != -1)
		close(fd);
	return -1;
}

/* /run/conmon, or for users $XDG_RUNTIME_DIR/conmon: ours, closed to everybody else, and no symlink. -1: there is none. */
static int open_session_directory(void)
{
	const char *base = is_real_root() ? "/run" : getenv("XDG_RUNTIME_DIR");

	if (base == NULL || base[0] != '/')
		return -1;
	int base_fd = open_directory(AT_FDCWD, base, 022);
	if (base_fd == -1)
		return -1;
	int fd = open_directory(base_fd, "conmon", 077);
	close(base_fd);
	return fd;
}

/* A connection to a daemon of our own user; -1: nobody is there. Never waits. */
static int connect_to_daemon(const char *id)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct ucred peer;
	socklen_t length = sizeof(peer);
	char name[PLAIN_NAME_MAX + 1];
	int directory_fd = open_session_directory();

	if (directory_fd == -1)
		return -1;
	name_socket(id, name, sizeof(name));
	int written = snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", directory_fd, name);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool connected = fd != -1 && written > 0 && (size_t)written < sizeof(address.sun_path) &&
			 connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
			 getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == geteuid() && peer.pid > 0;
	close(directory_fd);
	if (fd != -1 && !connected)
		close(fd);
	return connected ? fd : -1;
}

/* ---- the hand-over ----------------------------------------------------------------------------------------------- */

/* The arguments, each with its NUL, in a memfd, to be read from where it stands; -1 when there is none to be had. */
static int keep_arguments(int argc, char **argv)
{
	int fd = memfd_create("conmon-arguments", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	if (fd == -1 && errno == EINVAL)
		fd = memfd_create("conmon-arguments", MFD_CLOEXEC);
	if (fd == -1)
		return -1;
	off_t at = 0;
	for (int i = 0; i < argc;) {
		const char *from = argv[i], *end = from + strlen(from) + 1;
		/* Those that lie behind each other, as the kernel puts them, are one write. */
		while (++i < argc && argv[i] == end)
			end += strlen(end) + 1;
		while (from < end) {
			ssize_t written = pwrite(fd, from, (size_t)(end - from), at);
			if (written == -1 && errno == EINTR)
				continue;
			if (written <= 0) {
				close(fd);
				return -1;
			}
			from += written;
			at += written;
		}
	}
	return fd;
}

/* The number in /proc/self/oom_score_adj; empty when it cannot be read. */
static void read_oom_score(char *text, size_t size)
{
	(void)read_file("/proc/self/oom_score_adj", text, size);
	text[strspn(text, "-0123456789")] = '\0';
}

static bool send_with_fds(int fd, const char *text, size_t length, const int *fds, size_t count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE((3 + ENTRY_FDS_MAX) * sizeof(int))];
	} control;
	struct iovec part = {.iov_base = (char *)text, .iov_len = length};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control};
	ssize_t sent;

	memset(&control, 0, sizeof(control));
	message.msg_controllen = CMSG_SPACE(count * sizeof(int));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	do
		sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	while (sent == -1 && errno == EINTR);
	return sent == (ssize_t)length;
}

static bool hand_over_to(int fd, const struct entry *entry)
{
	char text[HAND_OVER_BYTES], oom_score[16];
	int fds[3 + ENTRY_FDS_MAX];

	if (entry->fd_count > ENTRY_FDS_MAX || (entry->fd_count > 0 && entry->fd_list[entry->fd_count - 1] > HIGHEST_ENTRY_FD))
		return false;
	read_oom_score(oom_score, sizeof(oom_score));
	int length = snprintf(text, sizeof(text), "v1 build=%s nofile=%llu:%llu oom=%s fds=%s", BUILD_ID,
			      (unsigned long long)entry->nofile.rlim_cur, (unsigned long long)entry->nofile.rlim_max, oom_score,
			      entry->fds);
	if (length < 0 || (size_t)length >= sizeof(text))
		return false;
	fds[0] = entry->environment_fd;
	fds[1] = keep_arguments(entry->argc, entry->argv);
	fds[2] = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (entry->fd_count > 0)
		memcpy(fds + 3, entry->fd_list, entry->fd_count * sizeof(int));
	bool sent = fds[1] != -1 && fds[2] != -1 && send_with_fds(fd, text, (size_t)length, fds, 3 + entry->fd_count);
	for (int i = 1; i <= 2; i++)
		if (fds[i] != -1)
			close(fds[i]);
	return sent;
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

static long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

static void wait_for_answer(int fd, long deadline_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	long left;

	while ((left = deadline_ms - now_ms()) > 0)
		if (poll(&poll_fd, 1, (int)left) > 0)
			return;
}

/*
 * The daemon has said that it is there. Before that nothing is sent: fds that wait in the queue of a daemon that hangs
 * would keep the caller waiting for their end.
 */
static bool is_awake(int fd, long deadline_ms)
{
	char letter = 0;

	wait_for_answer(fd, deadline_ms);
	return recv(fd, &letter, 1, MSG_DONTWAIT) == 1 && letter == 'G';
}

/*
 * The daemon takes the exec by an answer that it could send. After the shutdown it can send none, and one that it has
 * sent is in our queue: so both sides agree, also when the answer comes in the last moment.
 */
static bool receive_answer(int fd, struct joined *joined)
{
	char letter = 0;
	struct iovec parts[] = {{.iov_base = &letter, .iov_len = 1},
				{.iov_base = joined->text, .iov_len = sizeof(joined->text)}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t length;

	do
		length = recvmsg(fd, &message, MSG_DONTWAIT);
	while (length == -1 && errno == EINTR);
	if (length == -1 && errno == EAGAIN) {
		shutdown(fd, SHUT_RDWR);
		length = recvmsg(fd, &message, MSG_DONTWAIT);
	}
	if (length < 1 || (letter != 'R' && letter != 'S'))
		return false;
	joined->fd = letter == 'S' ? fd : -1;
	joined->text_length = (size_t)length - 1;
	return true;
}

bool join_session(const struct entry *entry, struct joined *joined)
{
	const char *wish = getenv("CONMON_SESSIONS");
	const char *id = wish == NULL || strcmp(wish, "off") != 0 ? guess_container(entry->argc, entry->argv) : NULL;

	if (id == NULL)
		return false;
	int fd = connect_to_daemon(id);
	if (fd == -1)
		return false;
	long deadline_ms = now_ms() + JOIN_LIMIT_MS;
	bool taken = is_awake(fd, deadline_ms) && hand_over_to(fd, entry);
	if (taken) {
		wait_for_answer(fd, deadline_ms);
		taken = receive_answer(fd, joined);
	}
	if (!taken || joined->fd == -1)
		close(fd);
	return taken;
}

/* ---- a session that the caller waits for ------------------------------------------------------------------------- */

void tell_session(int fd, int signal_number)
{
	char byte = (char)signal_number;

	(void)send(fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* E and the session's status; without it the daemon was killed, and so is, for the caller, this conmon. */
_Noreturn void follow_session(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	unsigned char answer[2];

	for (;;) {
		if (poll(&poll_fd, 1, -1) == -1)
			continue;
		ssize_t length = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
		/* A signal that the daemon had not read when it closed: told once, before the answer that it has sent. */
		if (length == -1 && errno == ECONNRESET)
			length = recv(fd, answer, sizeof(answer), MSG_DONTWAIT);
		if (length == 2 && answer[0] == 'E')
			_exit(answer[1]);
		if (length == 0 || (length == -1 && errno != EAGAIN && errno != EINTR))
			_exit(STATUS_OF_A_KILLED_DAEMON);
	}
}
