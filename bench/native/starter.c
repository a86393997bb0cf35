/*
 * Starts one conmon the way CRI-O does and takes the times: sync pipe at fd 3 and start pipe at fd 4, both stream
 * socketpairs, the start message already waiting. In C because the fork of a Node process alone costs more than
 * what is measured. Prints one JSON line; times are CLOCK_MONOTONIC ns. It never outlives its limit of 30 s.
 *
 * Usage: starter [--lines N] [--tree] CONMON ARGUMENT...
 *   --lines N  wait for N lines on the sync pipe, not for one
 *   --tree     wait also for every process that conmon leaves behind, and report the CPU of all of them, each without
 *              the children that it has reaped (the runtime): treeCpuNs, else -1
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "pattern.h"

#define LIMIT_MS 30000
#define SYNC_FD 3
#define START_FD 4

static void die(const char *what) {
  perror(what);
  exit(1);
}

/*
 * CPU of a child that has ended and has not been fetched yet, its own threads only; dies when it is unknown. wait4 would
 * add the children that it has fetched itself.
 */
static int64_t cpu_of_zombie(pid_t pid) {
  clockid_t clock_id;
  struct timespec used;
  if (clock_getcpuclockid(pid, &clock_id) != 0 || clock_gettime(clock_id, &used) != 0) die("CPU clock of conmon");
  return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

/* Waits for all that is left of conmon, whose orphans come to us. The alarm is the limit. Their CPU. */
static int64_t await_tree(void) {
  int64_t sum = 0;
  siginfo_t ended;
  alarm(LIMIT_MS / 1000);
  for (;;) {
    if (waitid(P_ALL, 0, &ended, WEXITED | WNOWAIT) == 0) {
      sum += cpu_of_zombie(ended.si_pid);
      if (waitpid(ended.si_pid, NULL, 0) < 0) die("waitpid");
    } else if (errno == ECHILD) {
      return sum;
    } else if (errno != EINTR) {
      die("waitid");
    }
  }
}

/* The end of line number `lines` in what has come, or NULL. */
static const char *end_of_line(const char *message, size_t held, int lines) {
  const char *end = NULL;
  for (const char *from = message; lines > 0; lines--, from = end + 1) {
    end = memchr(from, '\n', held - (size_t)(from - message));
    if (end == NULL) return NULL;
  }
  return end;
}

static int64_t microseconds(struct timeval time) { return (int64_t)time.tv_sec * 1000000 + time.tv_usec; }

static void print_json_string(const char *text, size_t length) {
  putchar('"');
  for (size_t i = 0; i < length; i++) {
    const unsigned char byte = (unsigned char)text[i];
    if (byte == '"' || byte == '\\')
      printf("\\%c", byte);
    else if (byte < 0x20)
      printf("\\u%04x", byte);
    else
      putchar(byte);
  }
  putchar('"');
}

/* Before Linux 5.9, which has no close_range, one by one, up to a number that no shell goes beyond. */
static void close_from(int first) {
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  for (int fd = first; fd < 1024; fd++) close(fd);
}

/*
 * In the child: both pipe ends to their numbers, the time, exec. Every other fd is closed: what the shell of whoever runs the
 * bench has left open would be the monitor's, and count as its. A process group of its own, as the engines do (a Ctrl-C must not
 * reach it); a launcher does not outlive a starter that was killed.
 */
static void execute(char **argv, int sync_fd, int start_fd, int64_t *exec_ns) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int sync_high = fcntl(sync_fd, F_DUPFD_CLOEXEC, 16);
  const int start_high = fcntl(start_fd, F_DUPFD_CLOEXEC, 16);
  if (dup2(sync_high, SYNC_FD) < 0 || dup2(start_high, START_FD) < 0) _exit(126);
  close_from(START_FD + 1);
  dup2(STDERR_FILENO, STDOUT_FILENO); /* stdout is for the report; C conmon tells option errors there */
  *exec_ns = monotonic_ns();
  execv(argv[0], argv);
  perror(argv[0]);
  _exit(127);
}

int main(int argc, char **argv) {
  int lines = 1;
  bool tree = false;
  for (; argc > 1 && strncmp(argv[1], "--", 2) == 0; argc--, argv++) {
    if (strcmp(argv[1], "--tree") == 0) {
      tree = true;
    } else if (strcmp(argv[1], "--lines") == 0 && argc > 2) {
      lines = atoi(argv[2]);
      argc--, argv++;
    } else {
      argc = 1;
      break;
    }
  }
  if (argc < 2 || lines < 1) {
    fprintf(stderr, "usage: starter [--lines N] [--tree] CONMON ARGUMENT...\n");
    return 2;
  }
  if (tree && prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) die("subreaper");
  int sync_pair[2], start_pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sync_pair) < 0) die("socketpair");
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, start_pair) < 0) die("socketpair");
  int64_t *exec_ns = mmap(NULL, sizeof *exec_ns, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (exec_ns == MAP_FAILED) die("mmap");
  if (write(start_pair[0], "", 1) != 1) die("start pipe");

  const pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) execute(argv + 1, sync_pair[1], start_pair[1], exec_ns);
  close(sync_pair[1]);
  close(start_pair[1]);

  const int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (pid_fd < 0) die("pidfd_open");
  struct pollfd polled[2] = {{.fd = sync_pair[0], .events = POLLIN}, {.fd = pid_fd, .events = POLLIN}};
  const int64_t deadline = monotonic_ns() + (int64_t)LIMIT_MS * 1000000;
  int64_t sync_ns = 0, exit_ns = 0, tree_cpu_ns = tree ? 0 : -1;
  char message[8192];
  size_t held = 0;
  int status = 0;
  struct rusage usage = {0};
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    const int64_t left_ms = (deadline - monotonic_ns()) / 1000000;
    const int ready = poll(polled, 2, left_ms < 0 ? 0 : (int)left_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      fprintf(stderr, "starter: no answer from %s within %d ms\n", argv[1], LIMIT_MS);
      if (polled[1].fd >= 0) kill(pid, SIGKILL);
      return 1;
    }
    const int64_t now = monotonic_ns();
    if (polled[0].revents != 0) {
      const ssize_t got = read(sync_pair[0], message + held, sizeof message - held);
      if (got > 0) held += (size_t)got;
      const char *end = end_of_line(message, held, lines);
      if (end != NULL) {
        sync_ns = now;
        held = (size_t)(end - message);
      }
      if (end != NULL || got <= 0 || held == sizeof message) polled[0].fd = -1;
    }
    if (polled[1].revents != 0) {
      exit_ns = now;
      if (tree) tree_cpu_ns = cpu_of_zombie(pid);
      if (wait4(pid, &status, 0, &usage) < 0) die("wait4");
      polled[1].fd = -1;
    }
  }
  if (tree) tree_cpu_ns += await_tree();
  printf("{\"execNs\":%lld,\"syncNs\":%lld,\"launcherExitNs\":%lld,\"launcherStatus\":%d,\"launcherCpuUs\":%lld,"
         "\"treeCpuNs\":%lld,\"message\":",
         (long long)*exec_ns, (long long)sync_ns, (long long)exit_ns,
         WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
         (long long)(microseconds(usage.ru_utime) + microseconds(usage.ru_stime)), (long long)tree_cpu_ns);
  print_json_string(message, held);
  puts("}");
  return 0;
}
