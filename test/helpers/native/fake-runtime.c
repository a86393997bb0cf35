/*
 * An OCI runtime (or exit command) for tests that does exactly what a script next to it says: it is copied to some
 * PATH and performs, line by line, the verbs of PATH.conf. Static, so that a container or a bare environment changes
 * nothing. It knows two things about its command line: `--pid-file FILE` and `--console-socket PATH`. Never used outside
 * the tests.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const char *pid_file, *console_socket;
/* The container's end of the terminal that was sent. */
static int tty_fd = -1;
static char *const *runtime_argv;

static void die(const char *what)
{
	dprintf(2, "fake runtime: %s: %s\n", what, strerror(errno));
	_exit(99);
}

static void sleep_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

static void write_all(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, data, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			_exit(98);
		data += n;
		length -= (size_t)n;
	}
}

static void put(const char *dir, const char *name, const char *data, size_t length)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		die(path);
	fchmod(fd, 0644);
	write_all(fd, data, length);
	close(fd);
}

static void copy(const char *from, int to)
{
	static char buffer[65536];
	int fd = open(from, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(from);
	for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;)
		write_all(to, buffer, (size_t)n);
	close(fd);
}

/* copy FROM TO: what a file held at this moment; TO stays away when there is no FROM. */
static void copy_file(char *argument)
{
	char *to = strchr(argument, ' ');
	if (to == NULL)
		die("copy");
	*to++ = 0;
	if (access(argument, F_OK) < 0)
		return;
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		die(to);
	copy(argument, fd);
	close(fd);
}

static void put_proc(const char *dir, const char *name)
{
	static char buffer[1 << 20];
	size_t length = 0;
	char path[64];
	snprintf(path, sizeof path, "/proc/self/%s", name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	for (ssize_t n; length < sizeof buffer && (n = read(fd, buffer + length, sizeof buffer - length)) > 0;)
		length += (size_t)n;
	close(fd);
	put(dir, name, buffer, length);
}

/* What this process was given, one file a subject: raw copies from /proc, and `fds` as "FD FLAGS MODE TARGET" lines. */
static void record(const char *dir)
{
	static char text[1 << 16], link[4096];
	size_t length = 0;
	DIR *d = opendir("/proc/self/fd");
	if (d == NULL)
		die("/proc/self/fd");
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		int fd = atoi(e->d_name);
		struct stat st;
		if (e->d_name[0] == '.' || fd == dirfd(d) || fstat(fd, &st) < 0)
			continue;
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof link - 1);
		link[n > 0 ? n : 0] = 0;
		length += (size_t)snprintf(text + length, sizeof text - length, "%d %o %o %s\n", fd, (unsigned)fcntl(fd, F_GETFD),
					   (unsigned)st.st_mode, link);
	}
	closedir(d);
	mkdir(dir, 0755);
	chmod(dir, 0755);
	put(dir, "fds", text, length);
	put_proc(dir, "cmdline");
	put_proc(dir, "environ");
	put_proc(dir, "status");
	put_proc(dir, "limits");
	put_proc(dir, "oom_score_adj");
	int pdeathsig = -1;
	prctl(PR_GET_PDEATHSIG, &pdeathsig);
	char *cwd = getcwd(link, sizeof link);
	length = (size_t)snprintf(text, sizeof text, "pid %d\nppid %d\nsid %d\npgid %d\npdeathsig %d\ncwd %s\n", getpid(), getppid(),
				  getsid(0), getpgid(0), pdeathsig, cwd == NULL ? "(none)" : cwd);
	put(dir, "process", text, length);
	put(dir, "done", "", 0);
}

static void write_pid_file(const char *text)
{
	char temp[4096];
	if (pid_file == NULL)
		die("no --pid-file");
	snprintf(temp, sizeof temp, "%s.fake", pid_file);
	int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		die(temp);
	write_all(fd, text, strlen(text));
	close(fd);
	if (rename(temp, pid_file) < 0)
		die(pid_file);
}

static void wait_for_file(const char *path)
{
	while (access(path, F_OK) < 0)
		sleep_ms(2);
}

static int open_terminal(int *other_end)
{
	int unlocked = 0, number;
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked) < 0 || ioctl(master, TIOCGPTN, &number) < 0)
		die("/dev/ptmx");
	char path[32];
	snprintf(path, sizeof path, "/dev/pts/%d", number);
	*other_end = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*other_end < 0)
		die(path);
	return master;
}

/*
 * console WHAT: connects to the console socket and sends what a runtime should (`pty`: the container then has the other
 * end as its streams) or should not: `null` (an fd that is no terminal), `two` (terminals), `nothing` (a byte without an
 * fd), `hang-up` (closes without a word).
 */
static void console(const char *what)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control;
	char name[] = "/dev/pts/0";
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[2], count = 0, unused;
	if (console_socket == NULL)
		die("no --console-socket");
	snprintf(address.sun_path, sizeof address.sun_path, "%s", console_socket);
	if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof address) < 0)
		die(console_socket);
	if (strcmp(what, "hang-up") == 0) {
		close(s);
		return;
	}
	if (strcmp(what, "null") == 0)
		fds[count++] = open("/dev/null", O_RDWR | O_CLOEXEC);
	else if (strcmp(what, "nothing") != 0)
		fds[count++] = open_terminal(&tty_fd);
	if (strcmp(what, "two") == 0)
		fds[count++] = open_terminal(&unused);
	struct iovec part = {.iov_base = name, .iov_len = strlen(name)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (count > 0) {
		memset(&control, 0, sizeof control);
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, (size_t)count * sizeof(int));
	}
	if (sendmsg(s, &message, MSG_NOSIGNAL) < 0)
		die("sendmsg");
	for (int i = 0; i < count; i++)
		close(fds[i]);
	close(s);
}

/* The "container": a child in its own session that outlives us and is inherited by conmon. */
static void container(const char *verb, const char *argument)
{
	char text[16];
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		struct rlimit no_core = {0, 0};
		setsid();
		if (tty_fd != -1) {
			ioctl(tty_fd, TIOCSCTTY, 0);
			for (int fd = 0; fd < 3; fd++)
				dup2(tty_fd, fd);
		}
		setrlimit(RLIMIT_CORE, &no_core);
		// As the real runtimes do: a monitor that ignores SIGPIPE must not make its containers ignore it.
		signal(SIGPIPE, SIG_DFL);
		if (strcmp(verb, "container-exit") == 0)
			_exit(atoi(argument));
		if (strcmp(verb, "container-kill") == 0) {
			kill(getpid(), atoi(argument));
			pause();
		}
		execl("/bin/sh", "sh", "-c", argument, runtime_argv[0], (char *)NULL);
		_exit(127);
	}
	snprintf(text, sizeof text, "%d", pid);
	write_pid_file(text);
}

/* Leaves an orphan behind: a grandchild whose parent is gone at once. */
static void orphan(const char *script)
{
	pid_t pid = fork();
	if (pid == 0) {
		if (fork() == 0) {
			execl("/bin/sh", "sh", "-c", script, runtime_argv[0], (char *)NULL);
			_exit(127);
		}
		_exit(0);
	}
}

static void perform(const char *verb, char *argument)
{
	if (strcmp(verb, "record") == 0)
		record(argument);
	else if (strcmp(verb, "stderr") == 0)
		copy(argument, 2);
	else if (strcmp(verb, "stdout") == 0)
		copy(argument, 1);
	else if (strcmp(verb, "copy") == 0)
		copy_file(argument);
	else if (strcmp(verb, "pid-file") == 0)
		write_pid_file(argument);
	else if (strcmp(verb, "console") == 0)
		console(argument);
	else if (strncmp(verb, "container", 9) == 0)
		container(verb, argument);
	else if (strcmp(verb, "orphan") == 0)
		orphan(argument);
	else if (strcmp(verb, "touch") == 0)
		close(open(argument, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
	else if (strcmp(verb, "wait-file") == 0)
		wait_for_file(argument);
	else if (strcmp(verb, "sleep-ms") == 0)
		sleep_ms(atol(argument));
	else if (strcmp(verb, "hang") == 0)
		for (;;)
			pause();
	else if (strcmp(verb, "kill") == 0)
		kill(getpid(), atoi(argument));
	else if (strcmp(verb, "exit") == 0)
		_exit(atoi(argument));
	else
		die(verb);
}

int main(int argc, char **argv)
{
	static char script[65536], path[4096];
	runtime_argv = argv;
	for (int i = 1; i + 1 < argc; i++) {
		if (strcmp(argv[i], "--pid-file") == 0)
			pid_file = argv[i + 1];
		if (strcmp(argv[i], "--console-socket") == 0)
			console_socket = argv[i + 1];
	}
	snprintf(path, sizeof path, "%s.conf", argv[0]);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	ssize_t length = read(fd, script, sizeof script - 1);
	close(fd);
	if (length < 0)
		die(path);
	char *rest = script;
	for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
		if (*line == 0)
			continue;
		char *argument = strchr(line, ' ');
		if (argument != NULL)
			*argument++ = 0;
		perform(line, argument == NULL ? strchr(line, 0) : argument);
	}
	return 0;
}
