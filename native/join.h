/*
 * Handing an exec over to the container's running daemon instead of booting one (docs/adr/0035-sessions.md).
 */
#ifndef CONMON_JOIN_H
#define CONMON_JOIN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

/* What the caller has handed to the launcher. */
struct entry {
	int argc;
	char **argv;
	/* A sealed memfd: every entry of the environment with its NUL. */
	int environment_fd;
	/* Open fds of 3 and above, as "3-7,9" and one by one, rising. */
	const char *fds;
	const int *fd_list;
	size_t fd_count;
	struct rlimit nofile;
};

/* How a daemon has answered. */
struct joined {
	/* The session socket; only when the launcher is to stay, else -1. */
	int fd;
	/* What the caller is to be told on stderr. */
	size_t text_length;
	char text[32768];
};

/*
 * true: a daemon has taken the exec, it must not be started again. false: nobody has and nobody will; nothing is left open.
 * Takes at most JOIN_LIMIT_MS.
 */
bool join_session(const struct entry *entry, struct joined *joined);

/* Ends the process as the session ends. Call with nothing but `fd` open. */
_Noreturn void follow_session(int fd);

/* Async-signal-safe. */
void tell_session(int fd, int signal_number);

#endif
