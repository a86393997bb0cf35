/*
 * conmon's launcher, the program that callers execute. It owns what must happen before Node has booted: the read on the
 * start pipe, the note of what the caller handed over, the clean environment, the fork, and the exit status afterwards.
 * One thread, one process that turns into two: the child becomes Node, the parent waits for one status byte.
 * It never parses options and never touches a container. What it hands to Node: docs/adr/0003-launcher-hand-over.md.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "join.h"

/*
 * Flags of our own for Node; every item ends in a comma. SIGUSR1 would otherwise open the inspector's port. One background
 * thread is enough for what is compiled here. A daemon that holds one exec after the other makes little garbage: V8 would
 * let it grow to what the machine has. Node compiled its own modules for V8 as it is by default: a flag that V8 counts
 * (all but --random-seed, which random_seed_flag adds, and those that Node takes for itself) has each of them compiled
 * again, in each thread. Figures: docs/adr/0043-flags-and-the-code-cache.md, docs/adr/0035-sessions.md.
 */
#ifndef NODE_FLAGS
#define NODE_FLAGS "--disable-sigusr1", "--v8-pool-size=1", "--max-semi-space-size=1",
#endif

/*
 * Environment settings of our own for Node, as "NAME=value"; every item ends in a comma. One malloc arena, trimmed: nothing
 * on the data path allocates. The machine's settings for OpenSSL, which Node would end at where they are wrong, are for
 * who uses it. Figures: docs/adr/0029-malloc-and-io-uring.md, docs/adr/0050-in-front-of-node.md.
 */
#ifndef NODE_SETTINGS
#define NODE_SETTINGS                                                                                                  \
	"GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.trim_threshold=65536:glibc.malloc.top_pad=0",             \
		"OPENSSL_CONF=/dev/null",
#endif

/* Linux 6.3; an older kernel refuses it with EINVAL, a system with vm.memfd_noexec=2 refuses to do without. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define EXIT_OWN_ERROR 1

/* Bounds the search without /proc: fs.nr_open, no fd is above it, is this unless an administrator raises it. */
#define PROBE_LIMIT 1048576

/* With what is around it, less than the longest environment string (Linux MAX_ARG_STRLEN, 32 pages of 4 KiB). */
#define ENTRY_FDS_BYTES 120000

/* What reaches Node of the caller's environment: these, and CONMON_*. The memfd has everything, for the runtime. */
static const char passed_names[][20] = {
	"TZ=", "TZDIR=", "TMPDIR=", "XDG_RUNTIME_DIR=", "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=",
	"NOTIFY_SOCKET=", "_OCI_SYNCPIPE=", "_OCI_STARTPIPE=", "_OCI_ATTACHPIPE=",
};

static const char node_flags[][64] = {NODE_FLAGS ""};

/* V8 looks for a secret for its hash tables in each thread: with one of these it finds it soon (native/seeds.c). */
static const int random_seeds[] = {
#include "seeds.h"
};
static const char node_settings[][160] = {NODE_SETTINGS ""};
static const int forwarded_signals[] = {SIGTERM, SIGINT, SIGQUIT};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* 0 until the child exists. */
static volatile sig_atomic_t daemon_pid;

/* The session that was joined and that the caller waits for; -1 for none. */
static volatile sig_atomic_t session_fd = -1;

static char install_root[PATH_MAX];
static char node_path[PATH_MAX];
static char script_path[PATH_MAX];

/* The fds at entry as "3-7,9"; empty for none. Untouched pages of it cost nothing. */
static char entry_fds[ENTRY_FDS_BYTES];

/* The same one by one, as many as can be handed over in one message and one more; and how many there are. */
static int entry_fd_list[251];
static size_t entry_fd_count;

/* No fd that this process holds is above it. */
static int highest_fd = STDERR_FILENO;

static char hand_over[ENTRY_FDS_BYTES + 256];

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* One write, so that the line stays whole beside other writers'. */
__attribute__((format(printf, 1, 2))) static void report(const char *format, ...)
{
	static const char prefix[] = "[conmon:e]: ";
	char line[2 * PATH_MAX];
	va_list args;

	memcpy(line, prefix, sizeof(prefix));
	size_t used = sizeof(prefix) - 1, room = sizeof(line) - used - 1;
	va_start(args, format);
	int wanted = vsnprintf(line + used, room, format, args);
	va_end(args);
	if (wanted > 0)
		used += (size_t)wanted < room ? (size_t)wanted : room - 1;
	line[used++] = '\n';
	while (write(STDERR_FILENO, line, used) == -1 && errno == EINTR)
		;
}

/* What errno means, in glibc's words, which callers know from conmon C; other libraries have their own for these. */
static const char *why(void)
{
	switch (errno) {
	case EIO:
		return "Input/output error";
	case ENOMEM:
		return "Cannot allocate memory";
	case EBUSY:
		return "Device or resource busy";
	case EMFILE:
		return "Too many open files";
	case ERANGE:
		return "Numerical result out of range";
	case ENAMETOOLONG:
		return "File name too long";
	case ELOOP:
		return "Too many levels of symbolic links";
	default:
		return strerror(errno);
	}
}

#define DIE(...) \
	do { \
		report(__VA_ARGS__); \
		_exit(EXIT_OWN_ERROR); \
	} while (0)

/* ---- at entry ---------------------------------------------------------------------------------------------------- */

/* Before anything else is opened: an fd of ours at 0, 1 or 2 would be taken for the caller's stream. */
static void fill_standard_streams(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) != -1)
			continue;
		if (open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) != fd)
			DIE("Failed to open /dev/null: %s", why());
	}
}

static void on_signal(int signal_number)
{
	int saved = errno;

	if (session_fd != -1)
		tell_session(session_fd, signal_number);
	else if (daemon_pid == 0)
		_exit(EXIT_OWN_ERROR);
	else
		kill(daemon_pid, signal_number);
	errno = saved;
}

static void change_mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < COUNT(forwarded_signals); i++)
		sigaddset(&set, forwarded_signals[i]);
	sigprocmask(how, &set, NULL);
}

/*
 * The caller may have ignored or blocked any of these. SIGCHLD ignored would lose the child's status (waitid(2));
 * RLIMIT_FSIZE ends a writer of a memfd with SIGXFSZ, and the error of write says more.
 */
static void take_over_signals(void)
{
	struct sigaction forward = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	for (size_t i = 0; i < COUNT(forwarded_signals); i++)
		sigaction(forwarded_signals[i], &forward, NULL);
	change_mask(SIG_UNBLOCK);
}

static void join(char *path, const char *name)
{
	int length = snprintf(path, PATH_MAX, "%s/libexec/conmon/%s", install_root, name);

	if (length < 0 || length >= PATH_MAX)
		DIE("Path of %s next to %s/bin is too long", name, install_root);
}

/*
 * ROOT/bin/conmon runs ROOT/libexec/conmon/node. The kernel's name for this program is used, never argv[0] or the
 * environment; it is taken at entry, because an upgrade may replace the file while we wait on the start pipe.
 */
static void find_installation(void)
{
	static const char deleted[] = " (deleted)";
	ssize_t length = readlink("/proc/self/exe", install_root, sizeof(install_root));

	if (length == -1)
		DIE("Failed to read /proc/self/exe: %s", why());
	if (length == 0 || (size_t)length == sizeof(install_root) || install_root[0] != '/')
		DIE("Failed to find the directory of conmon: /proc/self/exe is not an absolute path");
	install_root[length] = '\0';
	size_t suffix = sizeof(deleted) - 1;
	if ((size_t)length > suffix && strcmp(install_root + length - suffix, deleted) == 0)
		DIE("Failed to find the directory of conmon: %s", install_root);
	for (int levels = 2; levels > 0; levels--) {
		char *slash = strrchr(install_root, '/');
		if (slash != NULL)
			*slash = '\0';
	}
	join(node_path, "node");
	join(script_path, "main.cjs");
}

/* ---- fds at entry ------------------------------------------------------------------------------------------------ */

static void note_fd(int fd)
{
	if (fd > highest_fd)
		highest_fd = fd;
}

/* Called with rising numbers, then with -1; a range is written when a number comes that does not continue it. */
static void note_entry_fd(int fd)
{
	static int first = -1, last = -1;
	static size_t used;

	note_fd(fd);
	if (fd != -1 && entry_fd_count < COUNT(entry_fd_list))
		entry_fd_list[entry_fd_count++] = fd;
	if (first != -1 && fd == last + 1) {
		last = fd;
		return;
	}
	if (first != -1) {
		size_t room = sizeof(entry_fds) - used;
		const char *comma = used > 0 ? "," : "";
		int length = first == last ? snprintf(entry_fds + used, room, "%s%d", comma, first)
					   : snprintf(entry_fds + used, room, "%s%d-%d", comma, first, last);
		if (length < 0 || (size_t)length >= room)
			DIE("Too many inherited file descriptors");
		used += (size_t)length;
	}
	first = last = fd;
}

/* false: /proc/self/fd cannot be listed. */
static bool list_entry_fds(void)
{
	_Alignas(struct dirent64) char entries[4096];
	ssize_t length;
	int directory_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (directory_fd == -1)
		return false;
	while ((length = getdents64(directory_fd, (void *)entries, sizeof(entries))) > 0) {
		const struct dirent64 *entry;
		for (ssize_t at = 0; at < length; at += entry->d_reclen) {
			entry = (const void *)(entries + at);
			if (entry->d_name[0] == '.')
				continue;
			int fd = (int)strtol(entry->d_name, NULL, 10);
			if (fd > STDERR_FILENO && fd != directory_fd)
				note_entry_fd(fd);
		}
	}
	close(directory_fd);
	if (length == -1)
		DIE("Failed to list /proc/self/fd: %s", why());
	return true;
}

static void note_entry_fds(const struct rlimit *nofile)
{
	if (!list_entry_fds()) {
		int end = nofile->rlim_cur < PROBE_LIMIT ? (int)nofile->rlim_cur : PROBE_LIMIT;
		for (int fd = STDERR_FILENO + 1; fd < end; fd++)
			if (fcntl(fd, F_GETFD) != -1)
				note_entry_fd(fd);
	}
	note_entry_fd(-1);
}

/* ---- start pipe -------------------------------------------------------------------------------------------------- */

/* Digits alone, and the empty string, which counts as 0 as in conmon C (src/parent_pipe_fd.c). Sets errno, gives -1. */
static int parse_fd(const char *text)
{
	errno = EINVAL;
	if (text[strspn(text, "0123456789")] != '\0')
		return -1;
	errno = 0;
	long value = *text == '\0' ? 0 : strtol(text, NULL, 10);
	if (errno == 0 && value > INT_MAX)
		errno = ERANGE;
	return errno == 0 ? (int)value : -1;
}

/*
 * The caller moves us into a cgroup and then writes; all that is started later is in that cgroup as well. EOF is a go.
 * 0 names no pipe (conmon C, src/conmon.c). The fd stays open and inheritable: exec with attach reads a second time.
 */
static void wait_for_start(void)
{
	char message[8192];
	ssize_t length;
	const char *text = getenv("_OCI_STARTPIPE");

	if (text == NULL)
		return;
	int start_fd = parse_fd(text);
	if (start_fd == -1)
		DIE("unable to parse _OCI_STARTPIPE %s", why());
	if (fcntl(start_fd, F_GETFD) == -1)
		DIE("unable to make _OCI_STARTPIPE CLOEXEC %s", why());
	if (start_fd == 0)
		return;
	do
		length = read(start_fd, message, sizeof(message));
	while (length == -1 && errno == EINTR);
	if (length == -1)
		DIE("start-pipe read failed %s", why());
}

/* ---- environment ------------------------------------------------------------------------------------------------- */

static void write_all(int fd, const char *from, const char *end)
{
	while (from < end) {
		ssize_t written = write(fd, from, (size_t)(end - from));
		if (written == -1 && errno == EINTR)
			continue;
		if (written <= 0)
			DIE("Failed to keep the environment: %s", why());
		from += written;
	}
}

/*
 * The caller's environment, entry by entry with a NUL after each, in a sealed memfd that Node inherits.
 * The vector is read and not /proc/self/environ: glibc 2.36 cuts GLIBC_TUNABLES up in place and puts a copy into the
 * vector (measured 2026-11). Entries that lie behind each other, as the kernel puts them, are one write.
 */
static int keep_environment(char **environment)
{
	const int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	const char *end;
	int fd = memfd_create("conmon-environ", MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd == -1 && errno == EINVAL)
		fd = memfd_create("conmon-environ", MFD_ALLOW_SEALING);
	if (fd == -1)
		DIE("Failed to create a memfd for the environment: %s", why());
	note_fd(fd);
	for (char **entry = environment; *entry != NULL;) {
		const char *from = *entry;
		end = from + strlen(from) + 1;
		while (*++entry == end)
			end += strlen(end) + 1;
		write_all(fd, from, end);
	}
	if (lseek(fd, 0, SEEK_SET) == -1 || fcntl(fd, F_ADD_SEALS, seals) == -1)
		DIE("Failed to seal the environment: %s", why());
	return fd;
}

static bool begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static bool passes_to_node(const char *entry)
{
	if (begins_with(entry, "CONMON_"))
		return strchr(entry, '=') != NULL && !begins_with(entry, "CONMON_LAUNCHER=");
	for (size_t i = 0; i < COUNT(passed_names); i++)
		if (begins_with(entry, passed_names[i]))
			return true;
	return false;
}

/* Both vectors live until exec; the only memory that is allocated here. */
static const char **new_vector(size_t slots)
{
	const char **vector = calloc(slots, sizeof(*vector));

	if (vector == NULL)
		DIE("Failed to allocate memory: %s", why());
	return vector;
}

/*
 * Has ld.so load native/preload.c in front of Node. NULL where it is not there, and where ld.so would not take the path as
 * it is (ld.so(8), LD_PRELOAD): Node starts as well without.
 */
static const char *preload_setting(void)
{
	static const char name[] = "LD_PRELOAD=";
	static char setting[sizeof(name) + PATH_MAX];
	int length = snprintf(setting, sizeof(setting), "%s%s/libexec/conmon/preload.so", name, install_root);
	const char *path = setting + sizeof(name) - 1;

	if (length < 0 || (size_t)length >= sizeof(setting) || access(path, R_OK) == -1)
		return NULL;
	return strchr(path, ' ') == NULL && strchr(path, ':') == NULL && strchr(path, '$') == NULL ? setting : NULL;
}

static const char **node_environment(char **environment)
{
	size_t count = 0, used = 0;
	const char *preload = preload_setting();

	while (environment[count] != NULL)
		count++;
	const char **vector = new_vector(2 + count + COUNT(node_settings));
	vector[used++] = hand_over;
	for (size_t i = 0; i < count; i++)
		if (passes_to_node(environment[i]))
			vector[used++] = environment[i];
	for (size_t i = 0; node_settings[i][0] != '\0'; i++)
		vector[used++] = node_settings[i];
	if (preload != NULL)
		vector[used++] = preload;
	return vector;
}

/* Not the same one each time: V8 takes its addresses from it, too. */
static const char *random_seed_flag(void)
{
	static char flag[32];
	unsigned short chosen = 0;

	if (getrandom(&chosen, sizeof(chosen), GRND_NONBLOCK) != (ssize_t)sizeof(chosen))
		chosen = (unsigned short)getpid();
	snprintf(flag, sizeof(flag), "--random-seed=%d", random_seeds[chosen % COUNT(random_seeds)]);
	return flag;
}

static const char **node_arguments(int count, char **arguments)
{
	size_t used = 0, caller_arguments = count > 0 ? (size_t)count : 0;
	const char **vector = new_vector(3 + caller_arguments + COUNT(node_flags));

	vector[used++] = "conmon";
	for (size_t i = 0; node_flags[i][0] != '\0'; i++)
		vector[used++] = node_flags[i];
	vector[used++] = random_seed_flag();
	vector[used++] = script_path;
	for (size_t i = 1; i < caller_arguments; i++)
		vector[used++] = arguments[i];
	return vector;
}

/* ---- child ------------------------------------------------------------------------------------------------------- */

/*
 * Asks the kernel itself, since glibc keeps signals 32 and 33 to itself; a structure of zeros is SIG_DFL on every
 * architecture. SIGPIPE stays ignored, as Node wants it too: systemd ends a scope with SIGPIPE, also while Node boots.
 */
static void reset_signals(void)
{
	static const unsigned long defaults[8];
	sigset_t none;

	for (int number = 1; number <= SIGRTMAX; number++)
		if (number != SIGPIPE && number != SIGKILL && number != SIGSTOP)
			syscall(SYS_rt_sigaction, number, defaults, NULL, _NSIG / 8);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void become_node(const char **arguments, const char **environment)
{
	setsid();
	reset_signals();
	execve(node_path, (char *const *)arguments, (char *const *)environment);
	DIE("Failed to execute %s: %s", node_path, why());
}

/* ---- parent ------------------------------------------------------------------------------------------------------ */

/* Waits for the child's end without reaping it first: its pid stays its own until the handler can no longer use it. */
static siginfo_t reap_child(void)
{
	siginfo_t end = {0};

	while (waitid(P_PID, (id_t)daemon_pid, &end, WEXITED | WNOWAIT) == -1)
		if (errno != EINTR)
			DIE("Failed to wait for process %d: %s", (int)daemon_pid, why());
	change_mask(SIG_BLOCK);
	while (waitpid(daemon_pid, NULL, 0) == -1 && errno == EINTR)
		;
	return end;
}

/* The caller waits for EOF on its streams and pipes: only the session holds them from now on. -1: nothing is kept. */
static void let_go_of_everything(int kept)
{
	unsigned int above = kept == -1 ? 0U : (unsigned int)kept + 1;

	if ((kept < 1 || syscall(SYS_close_range, 0U, (unsigned int)kept - 1, 0U) == 0) &&
	    syscall(SYS_close_range, above, UINT_MAX, 0U) == 0)
		return;
	for (int fd = 0; fd <= highest_fd; fd++)
		if (fd != kept)
			close(fd);
}

/* The caller gets its answer from one byte: R, the daemon is ready; S, stay for the session; EOF, it ended before. */
static _Noreturn void follow_child(int status_fd)
{
	char status = 0;
	ssize_t length;

	do
		length = read(status_fd, &status, 1);
	while (length == -1 && errno == EINTR);
	if (length == 1 && status == 'R')
		_exit(0);
	if (length == 1 && status == 'S') {
		/* The caller's terminal may hang up; the session, which is the daemon's, goes on. */
		signal(SIGHUP, SIG_IGN);
		let_go_of_everything(-1);
	} else if (length != 0) {
		if (length == -1)
			report("Failed to read the status pipe: %s", why());
		else
			report("Unknown byte 0x%02x on the status pipe", (unsigned char)status);
		kill(daemon_pid, SIGKILL);
		reap_child();
		_exit(EXIT_OWN_ERROR);
	}
	siginfo_t end = reap_child();
	if (end.si_code == CLD_EXITED)
		_exit(end.si_status);
	if (status == 'S')
		_exit(128 + end.si_status);
	DIE("%s was ended by signal %d before it was ready", node_path, end.si_status);
}

/* ---- an exec that joins its container's daemon ------------------------------------------------------------------- */

/* Returns when nobody has taken the exec. Signals wait meanwhile: they are the session's as soon as there is one. */
static void try_to_join(const struct entry *entry)
{
	static struct joined joined;

	change_mask(SIG_BLOCK);
	if (join_session(entry, &joined)) {
		for (size_t at = 0; at < joined.text_length;) {
			ssize_t written = write(STDERR_FILENO, joined.text + at, joined.text_length - at);
			if (written == -1 && errno != EINTR)
				break;
			at += written > 0 ? (size_t)written : 0;
		}
		if (joined.fd == -1)
			_exit(0);
		/* The caller's terminal may hang up; the session, which is the daemon's, goes on. */
		signal(SIGHUP, SIG_IGN);
		note_fd(joined.fd);
		let_go_of_everything(joined.fd);
		session_fd = joined.fd;
		change_mask(SIG_UNBLOCK);
		follow_session(joined.fd);
	}
	change_mask(SIG_UNBLOCK);
}

int main(int argc, char **argv, char **envp)
{
	struct rlimit nofile;
	int status_pipe[2];
	pid_t caller_pid = getppid();

	fill_standard_streams();
	take_over_signals();
	find_installation();
	if (getrlimit(RLIMIT_NOFILE, &nofile) == -1)
		DIE("Failed to read RLIMIT_NOFILE: %s", why());
	note_entry_fds(&nofile);
	wait_for_start();

	int environment_fd = keep_environment(envp);
	try_to_join(&(struct entry){.argc = argc,
				    .argv = argv,
				    .environment_fd = environment_fd,
				    .fds = entry_fds,
				    .fd_list = entry_fd_list,
				    .fd_count = entry_fd_count,
				    .nofile = nofile});
	umask(0022);
	if (pipe2(status_pipe, 0) == -1)
		DIE("Failed to create the status pipe: %s", why());
	note_fd(status_pipe[0]);
	note_fd(status_pipe[1]);
	snprintf(hand_over, sizeof(hand_over),
		 "CONMON_LAUNCHER=v1 status=%d environ=%d nofile=%llu:%llu ppid=%d fds=%s", status_pipe[1],
		 environment_fd, (unsigned long long)nofile.rlim_cur, (unsigned long long)nofile.rlim_max,
		 (int)caller_pid, entry_fds);
	const char **environment = node_environment(envp);
	const char **arguments = node_arguments(argc, argv);

	/* Blocked until the handler knows the pid: a signal in between would be lost on both. */
	change_mask(SIG_BLOCK);
	pid_t pid = fork();
	if (pid == -1)
		DIE("Failed to fork: %s", why());
	if (pid == 0) {
		close(status_pipe[0]);
		become_node(arguments, environment);
	}
	daemon_pid = pid;
	close(status_pipe[1]);
	change_mask(SIG_UNBLOCK);
	follow_child(status_pipe[0]);
}
