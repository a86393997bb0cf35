/*
 * Stands in for Node in the launcher's tests: writes down what it was handed and acts as the arguments after main.cjs
 * say, in their order; an argument that does not begin with "do:" is only dumped. It ends by itself after a minute.
 *   do:dump=FILE  do:ready  do:stay  do:byte=N  do:shut (status pipe)  do:streams (closes 0, 1 and 2)  do:read=FD:FILE
 *   do:trap=FILE (appends every TERM, INT and QUIT; all but QUIT end it with 100 + signal)  do:exit=N  do:kill=SIGNAL
 *   do:hang
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int status_fd = -1, environ_fd = -1, trap_fd = -1;

static void field(FILE *out, const char *name, const void *bytes, size_t length)
{
	fprintf(out, "%s ", name);
	for (size_t i = 0; i < length; i++)
		fprintf(out, "%02x", ((const unsigned char *)bytes)[i]);
	fputc('\n', out);
}

static void text(FILE *out, const char *name, const char *value)
{
	field(out, name, value, strlen(value));
}

static void number(FILE *out, const char *name, unsigned long long value)
{
	char digits[32];
	snprintf(digits, sizeof(digits), "%llu", value);
	text(out, name, digits);
}

static void link_target(FILE *out, const char *name, const char *path, const char *before)
{
	char line[8192];
	int used = snprintf(line, sizeof(line), "%s", before);
	ssize_t length = readlink(path, line + used, sizeof(line) - (size_t)used);
	if (length >= 0)
		field(out, name, line, (size_t)used + (size_t)length);
}

/* Lines of "name hex"; complete as soon as it exists. The fds are listed before any of its own is open. */
static void dump(const char *path, int argc, char **argv, char **envp)
{
	static char status[65536], memory[8 << 20];
	char name[64], before[64], temporary[4096];
	static struct {
		int fd, flags;
	} fds[4096];
	size_t count = 0;
	struct rlimit nofile;

	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	while (directory != NULL && (entry = readdir(directory)) != NULL && count < 4096) {
		int fd = atoi(entry->d_name);
		if (!isdigit(entry->d_name[0]) || fd == dirfd(directory))
			continue;
		fds[count].fd = fd;
		fds[count++].flags = fcntl(fd, F_GETFD);
	}
	if (directory != NULL)
		closedir(directory);

	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	FILE *out = fopen(temporary, "w");
	for (int i = 0; i < argc; i++)
		text(out, "arg", argv[i]);
	for (char **variable = envp; *variable != NULL; variable++)
		text(out, "env", *variable);
	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fds[i].fd);
		snprintf(before, sizeof(before), "%d %d ", fds[i].fd, fds[i].flags);
		link_target(out, "fd", name, before);
	}
	link_target(out, "cwd", "/proc/self/cwd", "");
	link_target(out, "exe", "/proc/self/exe", "");
	mode_t mode = umask(0);
	umask(mode);
	number(out, "umask", mode);
	number(out, "pid", (unsigned long long)getpid());
	number(out, "ppid", (unsigned long long)getppid());
	number(out, "sid", (unsigned long long)getsid(0));
	getrlimit(RLIMIT_NOFILE, &nofile);
	number(out, "soft", nofile.rlim_cur);
	number(out, "hard", nofile.rlim_max);
	int status_file = open("/proc/self/status", O_RDONLY);
	ssize_t length = read(status_file, status, sizeof(status));
	if (length > 0)
		field(out, "status", status, (size_t)length);
	close(status_file);
	number(out, "position", (unsigned long long)lseek(environ_fd, 0, SEEK_CUR));
	number(out, "seals", (unsigned long long)fcntl(environ_fd, F_GET_SEALS));
	length = read(environ_fd, memory, sizeof(memory));
	if (length >= 0)
		field(out, "environ", memory, (size_t)length);
	fclose(out);
	rename(temporary, path);
}

static void on_signal(int signal_number)
{
	dprintf(trap_fd, "%d\n", signal_number);
	if (signal_number != SIGQUIT)
		_exit(100 + signal_number);
}

static void send_byte(int byte)
{
	char message = (char)byte;
	if (write(status_fd, &message, 1) != 1)
		_exit(121);
}

/* FD:FILE: one read of the fd, the bytes into the file. */
static void copy_one_read(char *value)
{
	char bytes[8192], temporary[4096];
	char *path = strchr(value, ':');
	if (path++ == NULL)
		_exit(123);
	ssize_t length = read(atoi(value), bytes, sizeof(bytes));
	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0644);
	if (length < 0 || write(fd, bytes, (size_t)length) != length || rename(temporary, path) == -1)
		_exit(122);
	close(fd);
}

int main(int argc, char **argv, char **envp)
{
	const char *hand_over = getenv("CONMON_LAUNCHER");
	int first = 0;

	alarm(60);
	if (hand_over != NULL)
		sscanf(hand_over, "v1 status=%d environ=%d", &status_fd, &environ_fd);
	while (first < argc && strstr(argv[first], "/main.cjs") == NULL)
		first++;
	for (int i = first + 1; i < argc; i++) {
		if (strncmp(argv[i], "do:", 3) != 0)
			continue;
		char *action = strdup(argv[i] + 3), *value = strchr(action, '=');
		if (value != NULL)
			*value++ = '\0';
		if (strcmp(action, "dump") == 0)
			dump(value, argc, argv, envp);
		else if (strcmp(action, "ready") == 0)
			send_byte('R');
		else if (strcmp(action, "stay") == 0)
			send_byte('S');
		else if (strcmp(action, "byte") == 0)
			send_byte(atoi(value));
		else if (strcmp(action, "shut") == 0)
			close(status_fd);
		else if (strcmp(action, "read") == 0)
			copy_one_read(value);
		else if (strcmp(action, "streams") == 0)
			for (int fd = 0; fd <= 2; fd++)
				close(fd);
		else if (strcmp(action, "trap") == 0) {
			trap_fd = open(value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
			signal(SIGTERM, on_signal);
			signal(SIGINT, on_signal);
			signal(SIGQUIT, on_signal);
		} else if (strcmp(action, "exit") == 0)
			_exit(atoi(value));
		else if (strcmp(action, "kill") == 0)
			kill(getpid(), atoi(value));
		else if (strcmp(action, "hang") == 0)
			for (;;)
				pause();
		else
			_exit(124);
	}
	return 0;
}
