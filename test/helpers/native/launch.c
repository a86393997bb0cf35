/*
 * Starts a program in surroundings that Node's spawn cannot make: exactly this environment and no fd above 4 (the test
 * runner adds variables to what Node spawns, and shells leak fds), closed standard streams, a deleted working directory,
 * a umask, an fd limit, fds at given numbers, a listening port, signal dispositions, SOCK_SEQPACKET pairs.
 * Usage: launch OPTIONS -- PROGRAM ARGS. Options act in order; with --seqpacket it stays as a bridge, else it becomes PROGRAM.
 * --attach-pipe, which must be the first, leaves fd 5 open too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	dprintf(2, "launch: %s: %s\n", what, strerror(errno));
	_exit(125);
}

/* --listen FD FILE: a TCP port on 127.0.0.1 at FD; its number goes into FILE. */
static void listen_at(int fd, const char *file)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	int s = socket(AF_INET, SOCK_STREAM, 0);
	if (s < 0 || bind(s, (struct sockaddr *)&address, length) < 0 || listen(s, 1) < 0 ||
	    getsockname(s, (struct sockaddr *)&address, &length) < 0)
		die("listen");
	if (s != fd) {
		if (dup2(s, fd) < 0)
			die("dup2");
		close(s);
	}
	FILE *f = fopen(file, "we");
	if (f == NULL)
		die(file);
	fprintf(f, "%d", ntohs(address.sin_port));
	fclose(f);
}

static void open_at(int fd, const char *path)
{
	int opened = open(path, O_RDWR | O_CREAT, 0644);
	if (opened < 0)
		die(path);
	if (opened != fd) {
		if (dup2(opened, fd) < 0)
			die("dup2");
		close(opened);
	}
}

/* A pipe that ends in the test at number `from` is moved on: the program sees it at `to` only. */
static void move_fd(int from, int to)
{
	if (dup2(from, to) < 0)
		die("dup2");
	close(from);
}

/*
 * --dev-log SOCKET: a mount namespace whose /dev is as it was, but that /dev/log leads to SOCKET: an overlay with its own
 * directories beside SOCKET, so that every other name in /dev stays what it is.
 */
static void replace_dev_log(const char *log)
{
	char upper[4096], work[4096], link[8192], options[16384];
	snprintf(upper, sizeof upper, "%s.upper", log);
	snprintf(work, sizeof work, "%s.work", log);
	snprintf(link, sizeof link, "%s/log", upper);
	snprintf(options, sizeof options, "lowerdir=/dev,upperdir=%s,workdir=%s", upper, work);
	if (mkdir(upper, 0755) < 0 || mkdir(work, 0755) < 0 || symlink(log, link) < 0)
		die(upper);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("overlay", "/dev", "overlay", 0, options) < 0)
		die("/dev");
}

/*
 * --cgroup2 DIR: a mount namespace in which /sys/fs/cgroup is the v2 hierarchy, and its directory of DIR's name shows
 * DIR, so that a test can say what the files of that cgroup hold.
 */
static void show_cgroup2(const char *dir)
{
	char target[4096];
	const char *name = strrchr(dir, '/');
	if (name == NULL)
		die(dir);
	snprintf(target, sizeof target, "/sys/fs/cgroup%s", name);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) < 0 || mount(dir, target, NULL, MS_BIND, NULL) < 0)
		die(target);
}

static void delete_cwd(const char *dir)
{
	if (mkdir(dir, 0755) < 0 || chdir(dir) < 0 || rmdir(dir) < 0)
		die(dir);
}

static void frame(char kind, const char *text, const char *data, size_t length)
{
	char head[64];
	struct iovec_like {
		const char *base;
		size_t length;
	} parts[2] = {{head, (size_t)snprintf(head, sizeof head, "%c %s\n", kind, text)}, {data, length}};
	for (int i = 0; i < 2; i++)
		for (size_t done = 0; done < parts[i].length;) {
			ssize_t n = write(3, parts[i].base + done, parts[i].length - done);
			if (n <= 0)
				_exit(1);
			done += (size_t)n;
		}
}

/* Sync and start pipes as Podman makes them. Frames to the test on fd 3: "P pid", "M length" + packet, "X status", "E". */
static void bridge(char **program, int attach_pipe)
{
	static char buffer[1 << 20];
	char text[32];
	int sync[2], start[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, start) < 0)
		die("socketpair");
	signal(SIGPIPE, SIG_IGN);
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		signal(SIGPIPE, SIG_DFL);
		dup2(sync[1], 3);
		dup2(start[1], 4);
		execv(program[0], program);
		die(program[0]);
	}
	close(sync[1]);
	close(start[1]);
	if (attach_pipe)
		close(5);
	snprintf(text, sizeof text, "%d", pid);
	frame('P', text, NULL, 0);
	int reaped = 0, more = 1, from_test = 1;
	while (!reaped || more) {
		struct pollfd fds[2] = {{more ? sync[0] : -1, POLLIN, 0}, {from_test ? 4 : -1, POLLIN, 0}};
		poll(fds, 2, reaped ? -1 : 2);
		if (fds[1].revents != 0) {
			ssize_t n = read(4, buffer, sizeof buffer);
			if (n > 0)
				send(start[0], buffer, (size_t)n, 0);
			else
				from_test = 0, close(start[0]);
		}
		if (fds[0].revents != 0) {
			ssize_t n = recv(sync[0], buffer, sizeof buffer, 0);
			snprintf(text, sizeof text, "%zd", n);
			if (n > 0)
				frame('M', text, buffer, (size_t)n);
			else
				more = 0, frame('E', "", NULL, 0);
		}
		int status;
		if (!reaped && waitpid(pid, &status, WNOHANG) == pid) {
			reaped = 1;
			snprintf(text, sizeof text, "%d %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1,
				 WIFSIGNALED(status) ? WTERMSIG(status) : 0);
			frame('X', text, NULL, 0);
		}
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int i = 1, bridged = 0;
	int attach_pipe = argc > 1 && strcmp(argv[1], "--attach-pipe") == 0;
	clearenv();
	close_range(attach_pipe ? 6 : 5, ~0U, 0);
	i += attach_pipe;
	for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
		const char *option = argv[i];
		if (strcmp(option, "--close") == 0)
			close(atoi(argv[++i]));
		else if (strcmp(option, "--env") == 0)
			putenv(argv[++i]);
		else if (strcmp(option, "--umask") == 0)
			umask((mode_t)strtol(argv[++i], NULL, 8));
		else if (strcmp(option, "--nofile") == 0) {
			rlim_t n = strtoul(argv[++i], NULL, 10);
			struct rlimit limit = {n, n};
			if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
				die(option);
		} else if (strcmp(option, "--open") == 0) {
			open_at(atoi(argv[i + 1]), argv[i + 2]);
			i += 2;
		} else if (strcmp(option, "--move") == 0) {
			move_fd(atoi(argv[i + 1]), atoi(argv[i + 2]));
			i += 2;
		} else if (strcmp(option, "--listen") == 0) {
			listen_at(atoi(argv[i + 1]), argv[i + 2]);
			i += 2;
		} else if (strcmp(option, "--deleted-cwd") == 0)
			delete_cwd(argv[++i]);
		else if (strcmp(option, "--ignore") == 0)
			signal(atoi(argv[++i]), SIG_IGN);
		else if (strcmp(option, "--cgroup2") == 0)
			show_cgroup2(argv[++i]);
		else if (strcmp(option, "--dev-log") == 0)
			replace_dev_log(argv[++i]);
		else if (strcmp(option, "--setpgid") == 0)
			setpgid(0, 0);
		else if (strcmp(option, "--listen-pid") == 0) {
			char text[16];
			snprintf(text, sizeof text, "%d", getpid());
			setenv("LISTEN_PID", text, 1);
		} else if (strcmp(option, "--seqpacket") == 0)
			bridged = 1;
		else
			die(option);
	}
	if (++i >= argc)
		die("no program");
	if (bridged)
		bridge(argv + i, attach_pipe);
	execv(argv[i], argv + i);
	die(argv[i]);
}
