/*
 * A caller of conmon, for the launcher's tests: prepares what the operations say, in their order, then executes.
 * It does what child_process cannot: an environment of any bytes, closed standard streams, chosen fd numbers, limits,
 * masks, a lost working directory, system calls that fail. usage: caller OPERATION... exec=PATH
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const struct {
	const char *name;
	long number;
} calls[] = {
	{"clone", SYS_clone},
	{"close_range", SYS_close_range},
	{"memfd_create", SYS_memfd_create},
#ifdef SYS_fork
	{"fork", SYS_fork},
#else
	{"fork", SYS_clone},
#endif
};

static void check(int result, const char *operation)
{
	if (result == -1) {
		fprintf(stderr, "caller: %s: %m\n", operation);
		_exit(120);
	}
}

/* A file of NUL-terminated strings as an argument vector. Never freed: exec follows. */
static char **strings_of(const char *path)
{
	struct stat info;
	int fd = open(path, O_RDONLY);

	check(fd, path);
	check(fstat(fd, &info), path);
	char *text = malloc((size_t)info.st_size + 1);
	check(read(fd, text, (size_t)info.st_size) == info.st_size ? 0 : -1, path);
	close(fd);
	size_t count = 0, used = 0;
	for (off_t i = 0; i < info.st_size; i++)
		count += text[i] == '\0';
	char **vector = calloc(count + 1, sizeof(*vector));
	for (size_t i = 0; i < count; i++) {
		vector[i] = text + used;
		used += strlen(text + used) + 1;
	}
	return vector;
}

static void place(int fd, int wanted, const char *operation)
{
	check(fd, operation);
	if (fd == wanted)
		return;
	check(dup2(fd, wanted), operation);
	close(fd);
}

static void limit(int resource, const char *value)
{
	struct rlimit both;
	char *rest;

	both.rlim_cur = strtoull(value, &rest, 10);
	both.rlim_max = *rest == ':' ? strtoull(rest + 1, NULL, 10) : both.rlim_cur;
	check(setrlimit(resource, &both), "setrlimit");
}

static void filter(struct sock_filter *instructions, unsigned short count)
{
	struct sock_fprog program = {.len = count, .filter = instructions};

	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
}

/* CALL:ERRNO, from now on, also in everything that is executed. */
static void deny(const char *value)
{
	const char *colon = strchr(value, ':');
	size_t length = colon == NULL ? 0 : (size_t)(colon - value);

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		if (strlen(calls[i].name) != length || strncmp(value, calls[i].name, length) != 0)
			continue;
		struct sock_filter instructions[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((unsigned)atoi(colon + 1) & SECCOMP_RET_DATA)),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		filter(instructions, 4);
		return;
	}
	errno = EINVAL;
	check(-1, value);
}

/* memfd_create as before Linux 6.3, which knows flags up to 7 (little endian machines: the low word comes first). */
static void old_memfd(void)
{
	struct sock_filter instructions[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 7, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	filter(instructions, 6);
}

/* A /proc with nothing in it but self/exe, in a mount namespace of our own. */
static void empty_proc(const char *executable)
{
	check(unshare(CLONE_NEWNS), "unshare");
	check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount /");
	check(mount("none", "/proc", "tmpfs", 0, NULL), "mount /proc");
	check(mkdir("/proc/self", 0755), "mkdir /proc/self");
	check(symlink(executable, "/proc/self/exe"), "symlink /proc/self/exe");
}

/* Asks the kernel itself: glibc refuses signals 32 and 33, other libraries do not. "all" or one number. */
static void block(const char *value)
{
	unsigned long long set = strcmp(value, "all") == 0 ? ~0ULL : 1ULL << (atoi(value) - 1);

	check((int)syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, sizeof(set)), "block");
}

static void ignore(const char *value)
{
	const struct {
		void (*handler)(int);
		unsigned long rest[8];
	} ignored = {.handler = SIG_IGN};

	for (int number = 1; number <= SIGRTMAX; number++)
		if (strcmp(value, "all") == 0 || atoi(value) == number)
			syscall(SYS_rt_sigaction, number, &ignored, NULL, 8);
}

/* SIGNAL:MICROSECONDS: a child that sends it to us after that time, whatever we execute meanwhile. */
static void send_later(const char *value)
{
	pid_t target = getpid();
	const char *colon = strchr(value, ':');
	long us = colon == NULL ? 0 : atol(colon + 1);
	struct timespec delay = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
	pid_t child = fork();

	check(child, "fork");
	if (child != 0)
		return;
	nanosleep(&delay, NULL);
	kill(target, atoi(value));
	_exit(0);
}

int main(int argc, char **argv)
{
	static char *nothing[] = {NULL};
	static char *only_name[] = {"conmon", NULL};
	char **arguments = only_name, **environment = nothing;

	for (int i = 1; i < argc; i++) {
		char *operation = argv[i], *value = strchr(operation, '=');
		if (value == NULL) {
			errno = EINVAL;
			check(-1, operation);
			return 120;
		}
		*value++ = '\0';
		char *second = strchr(value, ':');
		if (strcmp(operation, "argv") == 0)
			arguments = strings_of(value);
		else if (strcmp(operation, "env") == 0)
			environment = strings_of(value);
		else if (strcmp(operation, "close") == 0)
			close(atoi(value));
		else if (strcmp(operation, "clean") == 0) /* nothing from this fd on: a test runner may leak some */
			check((int)syscall(SYS_close_range, (unsigned)atoi(value), ~0U, 0U), operation);
		else if (strcmp(operation, "null") == 0) /* /dev/null as this fd */
			place(open("/dev/null", O_RDWR), atoi(value), operation);
		else if (strcmp(operation, "file") == 0 && second != NULL) /* FD:PATH, for reading */
			place(open(second + 1, O_RDONLY), atoi(value), operation);
		else if (strcmp(operation, "copy") == 0 && second != NULL) /* FROM:TO */
			check(dup2(atoi(value), atoi(second + 1)), operation);
		else if (strcmp(operation, "nofile") == 0)
			limit(RLIMIT_NOFILE, value);
		else if (strcmp(operation, "fsize") == 0)
			limit(RLIMIT_FSIZE, value);
		else if (strcmp(operation, "umask") == 0)
			umask((mode_t)strtoul(value, NULL, 8));
		else if (strcmp(operation, "cd") == 0)
			check(chdir(value), operation);
		else if (strcmp(operation, "lost") == 0) { /* a working directory that is gone */
			check(mkdir(value, 0755), operation);
			check(chdir(value), operation);
			check(rmdir(value), operation);
		} else if (strcmp(operation, "block") == 0)
			block(value);
		else if (strcmp(operation, "ignore") == 0)
			ignore(value);
		else if (strcmp(operation, "raise") == 0)
			check(kill(getpid(), atoi(value)), operation);
		else if (strcmp(operation, "later") == 0)
			send_later(value);
		else if (strcmp(operation, "deny") == 0)
			deny(value);
		else if (strcmp(operation, "kernel") == 0) /* any value: one before Linux 6.3 */
			old_memfd();
		else if (strcmp(operation, "emptyproc") == 0)
			empty_proc(value);
		else if (strcmp(operation, "exec") == 0) {
			execve(value, arguments, environment);
			check(-1, value);
		} else if (strcmp(operation, "execlost") == 0) { /* a program whose file is gone */
			int fd = open(value, O_RDONLY | O_CLOEXEC);
			check(unlink(value), value);
			fexecve(fd, arguments, environment);
			check(-1, value);
		} else {
			errno = EINVAL;
			check(-1, operation);
		}
	}
	return 120;
}
