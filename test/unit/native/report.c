/*
 * Says what a process was given when it was started: ids, arguments, environment, fds, signals, limits. One fact a line
 * on fd 1, bytes that are no printable ASCII as \xHH. Arguments are operations, done in order after the report; with
 * `quiet` as the first there is no report.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SENT_FDS_MAX 253

extern char **environ;

static void say(const char *name, const char *text)
{
	printf("%s ", name);
	for (; *text != '\0'; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < 0x20 || c > 0x7e || c == '\\')
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	putchar('\n');
}

/* The lines of `path` that begin with one of `names`, or all of it as `whole`. */
static void say_file(const char *path, const char *whole, const char *const *names)
{
	char line[4096];
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (whole != NULL)
			say(whole, line);
		for (size_t i = 0; names != NULL && names[i] != NULL; i++)
			if (strncmp(line, names[i], strlen(names[i])) == 0)
				say(names[i], line + strlen(names[i]) + 2);
	}
	(void)fclose(file);
}

static void say_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	if (directory == NULL)
		return;
	for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
		char target[4096];
		if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory))
			continue;
		ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
		target[length < 0 ? 0 : length] = '\0';
		printf("fd %s %d ", entry->d_name, fcntl(atoi(entry->d_name), F_GETFD));
		say("", target);
	}
	(void)closedir(directory);
}

static void nap(long ms)
{
	struct timespec left = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&left, &left) < 0)
		;
}

/* Sends `count` copies of fd 2 in one message on the socket `fd`. */
static int send_fds(int fd, int count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(SENT_FDS_MAX * sizeof(int))];
	} control;
	char byte = 'x';
	struct iovec part = {&byte, 1};
	if (count < 1 || count > SENT_FDS_MAX)
		return 2;
	memset(&control, 0, sizeof(control));
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control};
	message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
	int *fds = (int *)(void *)CMSG_DATA(&control.header);
	for (int i = 0; i < count; i++)
		fds[i] = 2;
	return sendmsg(fd, &message, 0) == 1 ? 0 : 3;
}

static void report(int argc, char **argv)
{
	static const char *const fields[] = {"SigBlk", "SigIgn", "SigCgt", NULL};
	struct rlimit limit;
	struct winsize size;
	int death_signal = -1;
	char cwd[4096];
	say("cwd", getcwd(cwd, sizeof(cwd)) == NULL ? "?" : cwd);
	printf("pid %d\nppid %d\npgid %d\n", (int)getpid(), (int)getppid(), (int)getpgrp());
	for (int i = 0; i < argc; i++)
		say("arg", argv[i]);
	for (char **entry = environ; *entry != NULL; entry++)
		say("env", *entry);
	say_fds();
	say_file("/proc/self/status", NULL, fields);
	say_file("/proc/self/oom_score_adj", "oom", NULL);
	(void)prctl(PR_GET_PDEATHSIG, &death_signal, 0UL, 0UL, 0UL);
	printf("pdeathsig %d\n", death_signal);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		printf("nofile %ld:%ld\n", (long)limit.rlim_cur, (long)limit.rlim_max);
	if (ioctl(0, TIOCGWINSZ, &size) == 0)
		printf("winsize %d %d\n", size.ws_row, size.ws_col);
	(void)fflush(stdout);
}

int main(int argc, char **argv)
{
	(void)alarm(60); /* whatever becomes of the test */
	if (argc < 2 || strcmp(argv[1], "quiet") != 0)
		report(argc, argv);
	int first = 0, second = 0;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "pause") == 0)
			for (;;)
				(void)pause();
		else if (sscanf(argv[i], "exit=%d", &first) == 1)
			_exit(first);
		else if (sscanf(argv[i], "raise=%d", &first) == 1)
			(void)raise(first);
		else if (sscanf(argv[i], "nap=%d", &first) == 1)
			nap(first);
		else if (sscanf(argv[i], "kill-parent=%d", &first) == 1)
			(void)kill(getppid(), first);
		else if (sscanf(argv[i], "send-fds=%d,%d", &first, &second) == 2)
			return send_fds(first, second);
		else if (sscanf(argv[i], "orphan=%d", &first) == 1 && fork() == 0) {
			/* Ends with this status after its parent, which goes on with the next operation. */
			pid_t parent = getppid();
			while (getppid() == parent)
				nap(1);
			_exit(first);
		}
	}
	return 0;
}
