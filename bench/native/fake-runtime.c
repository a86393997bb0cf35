/*
 * A trivial OCI runtime: `create` forks the container, which keeps the stdio that conmon gave it and obeys the bench
 * over the unix socket BUNDLE/bench.sock. It has no isolation and costs almost nothing, so that what the bench
 * measures is the monitor. The container ends when the bench does (end of file on the socket).
 *
 * Commands, one a line, `name key=value ...` (a path comes last and takes the rest of the line):
 *   write line=L total=N [chunk=C] [every=NS] [both=1] [at=NS]
 *                                           write N payload bytes (pattern.h), from that time on, in writes of C bytes, one
 *                                           every NS ns; reply: written first= last= cpu=
 *                                           both: a child writes as much to stderr meanwhile
 *   watch min=S quiet=MS stall=MS path=P    wait for the pipe to be empty and P to be at least S bytes and to have
 *                                           stayed as it is for `quiet` ms (whatever its size: for `stall` ms);
 *                                           reply: quiet drained= complete= size= cpu=
 *   latency count=N gap=US path=P           N times: wait US microseconds, write one line, wait until P has grown;
 *                                           reply: latency and the quantiles of the waits in ns, p10= .. max=
 *   stamps count=N gap=US                   N times: wait US microseconds, write a line of 100 bytes that begins with the
 *                                           time, 20 digits of ns; no reply
 *   exit status=N                           reply: exiting at= , end
 * `exec` starts a process that writes one line and ends with status 0; where there is a fifo PIDFILE.hold, once that is
 * closed. PIDFILE.at then holds `at= parent=`: when the runtime's main began, and whose child it was.
 * First message of the container: ready pid= runtime= (CLOCK_MONOTONIC ns at which the runtime's main began).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdarg.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "pattern.h"

#define POLL_NS 100000L /* how often `watch` looks: 0.1 ms, far below the 300 ms that a run takes */

static int control_fd = -1;

static void reply(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void reply(const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (length < 0 || (size_t)length >= sizeof line || write_all(control_fd, line, (size_t)length) < 0) _exit(1);
}

/* The text after `key=` in a command, or NULL. */
static const char *field(const char *command, const char *key) {
  const size_t length = strlen(key);
  for (const char *at = command; (at = strchr(at, ' ')) != NULL;) {
    at++;
    if (strncmp(at, key, length) == 0 && at[length] == '=') return at + length + 1;
  }
  return NULL;
}

static uint64_t number(const char *command, const char *key, uint64_t otherwise) {
  const char *text = field(command, key);
  return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void write_payload(const char *command) {
  const size_t chunk_bytes = number(command, "chunk", PATTERN_CHUNK_BYTES);
  struct pattern pattern;
  const char *line = field(command, "line");
  if (chunk_bytes == 0 || line == NULL || pattern_init(&pattern, line, chunk_bytes) < 0) {
    reply("failed step=write errno=%d\n", errno);
    return;
  }
  const uint64_t total_bytes = number(command, "total", 0);
  const int64_t every_ns = (int64_t)number(command, "every", 0);
  const int64_t at = (int64_t)number(command, "at", 0);
  const struct timespec start = {at / 1000000000, at % 1000000000};
  while (at > monotonic_ns()) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &start, NULL);
  const int64_t cpu_before = own_cpu_ns();
  const int64_t first = monotonic_ns();
  const pid_t child = number(command, "both", 0) == 1 ? fork() : 0;
  if (child == 0 && number(command, "both", 0) == 1)
    _exit(pattern_write(&pattern, STDERR_FILENO, total_bytes, chunk_bytes, every_ns) < 0);
  int result = child < 0 ? -1 : pattern_write(&pattern, STDOUT_FILENO, total_bytes, chunk_bytes, every_ns);
  int status = 0;
  if (child > 0 && (waitpid(child, &status, 0) < 0 || status != 0)) result = -1;
  const int64_t last = monotonic_ns();
  free(pattern.bytes);
  if (result < 0)
    reply("failed step=write errno=%d\n", errno);
  else
    reply("written first=%lld last=%lld cpu=%lld\n", (long long)first, (long long)last,
          (long long)(own_cpu_ns() - cpu_before));
}

static void sleep_a_moment(void) {
  const struct timespec moment = {0, POLL_NS};
  nanosleep(&moment, NULL);
}

static void watch(const char *command) {
  const char *path = field(command, "path");
  const int64_t quiet_ns = (int64_t)number(command, "quiet", 50) * 1000000;
  const int64_t stall_ns = (int64_t)number(command, "stall", 2000) * 1000000;
  const int64_t least = (int64_t)number(command, "min", 0);
  const int64_t cpu_before = own_cpu_ns();
  int64_t drained = 0, changed = monotonic_ns(), size = -1;
  const int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    reply("failed step=watch errno=%d\n", errno);
    return;
  }
  for (;;) {
    int pending = 0;
    if (drained == 0 && ioctl(STDOUT_FILENO, FIONREAD, &pending) == 0 && pending == 0) drained = monotonic_ns();
    struct stat status;
    const int64_t now = fstat(fd, &status) == 0 ? monotonic_ns() : 0;
    if (now == 0) {
      reply("failed step=watch errno=%d\n", errno);
      break;
    }
    if (status.st_size != size) {
      size = status.st_size;
      changed = now;
    }
    if ((drained != 0 && size >= least && now - changed >= quiet_ns) || now - changed >= stall_ns) {
      reply("quiet drained=%lld complete=%lld size=%lld cpu=%lld\n", (long long)drained, (long long)changed,
            (long long)size, (long long)(own_cpu_ns() - cpu_before));
      break;
    }
    sleep_a_moment();
  }
  close(fd);
}

static int ascending(const void *a, const void *b) {
  const int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
  return (left > right) - (left < right);
}

/* Waits until the file is larger than `size` without using the CPU that the monitor needs. Its size, or -1. */
static int64_t await_growth(int fd, int inotify_fd, int64_t size) {
  char events[4096];
  for (;;) {
    struct stat status;
    if (fstat(fd, &status) < 0) return -1;
    if (status.st_size > size) return status.st_size;
    if (read(inotify_fd, events, sizeof events) < 0 && errno != EINTR) return -1;
  }
}

static void latency(const char *command) {
  static const char line[] = "a line of about the length that a service logs when it has handled a request, 100 bytes in all...\n";
  const char *path = field(command, "path");
  const size_t count = number(command, "count", 100);
  const uint64_t gap_us = number(command, "gap", 1000);
  int64_t *waits = calloc(count, sizeof *waits);
  const int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  const int inotify_fd = inotify_init1(IN_CLOEXEC);
  if (count == 0 || waits == NULL || fd < 0 || inotify_add_watch(inotify_fd, path, IN_MODIFY) < 0) {
    reply("failed step=latency errno=%d\n", errno);
    return;
  }
  struct stat status;
  int64_t size = fstat(fd, &status) == 0 ? status.st_size : -1;
  for (size_t i = 0; i < count && size >= 0; i++) {
    const struct timespec gap = {(time_t)(gap_us / 1000000), (long)(gap_us % 1000000) * 1000};
    nanosleep(&gap, NULL);
    const int64_t before = monotonic_ns();
    if (write_all(STDOUT_FILENO, line, sizeof line - 1) < 0) size = -1;
    else size = await_growth(fd, inotify_fd, size);
    waits[i] = monotonic_ns() - before;
  }
  close(fd);
  close(inotify_fd);
  if (size < 0) {
    reply("failed step=latency errno=%d\n", errno);
    return;
  }
  qsort(waits, count, sizeof *waits, ascending);
#define QUANTILE(f) (long long)waits[(size_t)((double)(count - 1) * (f))]
  reply("latency p10=%lld p25=%lld p50=%lld p75=%lld p90=%lld p95=%lld p99=%lld p999=%lld max=%lld size=%lld\n",
        QUANTILE(0.1), QUANTILE(0.25), QUANTILE(0.5), QUANTILE(0.75), QUANTILE(0.9), QUANTILE(0.95), QUANTILE(0.99),
        QUANTILE(0.999), QUANTILE(1.0), (long long)size);
#undef QUANTILE
  free(waits);
}

static void stamps(const char *command) {
  char line[101];
  const size_t count = number(command, "count", 100);
  const uint64_t gap_us = number(command, "gap", 1000);
  for (size_t i = 0; i < count; i++) {
    const struct timespec gap = {(time_t)(gap_us / 1000000), (long)(gap_us % 1000000) * 1000};
    nanosleep(&gap, NULL);
    snprintf(line, sizeof line, "%020lld %078d\n", (long long)monotonic_ns(), 0);
    if (write_all(STDOUT_FILENO, line, sizeof line - 1) < 0) return;
  }
}

static void leave(const char *command) {
  reply("exiting at=%lld\n", (long long)monotonic_ns());
  exit((int)number(command, "status", 0));
}

static void obey(char *command) {
  if (strncmp(command, "write ", 6) == 0)
    write_payload(command);
  else if (strncmp(command, "watch ", 6) == 0)
    watch(command);
  else if (strncmp(command, "latency ", 8) == 0)
    latency(command);
  else if (strncmp(command, "stamps ", 7) == 0)
    stamps(command);
  else if (strncmp(command, "exit ", 5) == 0)
    leave(command);
  else
    reply("failed step=parse errno=%d\n", EINVAL);
}

/* The container: one bench connection, one command at a time. Never returns. */
static void container(const char *bundle, int64_t runtime_ns) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "bench.sock"};
  setsid();
  close_range(3, ~0U, 0);
  control_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (chdir(bundle) < 0 || control_fd < 0 || connect(control_fd, (struct sockaddr *)&address, sizeof address) < 0) {
    perror("fake-runtime: bench.sock");
    exit(127);
  }
  reply("ready pid=%d runtime=%lld\n", (int)getpid(), (long long)runtime_ns);

  char command[4096];
  size_t held = 0;
  for (;;) {
    const ssize_t got = read(control_fd, command + held, sizeof command - 1 - held);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) exit(0);
    held += (size_t)got;
    command[held] = '\0';
    for (char *end; (end = strchr(command, '\n')) != NULL;) {
      *end = '\0';
      obey(command);
      held -= (size_t)(end + 1 - command);
      memmove(command, end + 1, held + 1);
    }
    if (held == sizeof command - 1) exit(126);
  }
}

/* The value of a subcommand option given as `--name value`, or NULL. */
static const char *option(int argc, char **argv, const char *name) {
  for (int i = 1; i + 1 < argc; i++)
    if (strcmp(argv[i], name) == 0) return argv[i + 1];
  return NULL;
}

static bool asks_for(int argc, char **argv, const char *subcommand) {
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], subcommand) == 0) return true;
  return false;
}

/* The file NAME.SUFFIX; -1 when it cannot be opened, errno then says why. */
static int open_beside(const char *name, const char *suffix, int flags) {
  char path[4096];
  const int length = snprintf(path, sizeof path, "%s.%s", name, suffix);
  if (length < 0 || (size_t)length >= sizeof path) {
    errno = ENAMETOOLONG;
    return -1;
  }
  return open(path, flags | O_CLOEXEC, 0644);
}

/* What is executed in a container: one line, then the end, which may be held up. */
static void session(const char *pid_file) {
  static const char line[] = "alive\n";
  char byte;
  setsid();
  if (write_all(STDOUT_FILENO, line, sizeof line - 1) < 0) _exit(1);
  const int hold_fd = open_beside(pid_file, "hold", O_RDONLY);
  if (hold_fd < 0) _exit(errno != ENOENT);
  while (read(hold_fd, &byte, 1) > 0) continue;
  _exit(0);
}

/* Leaves the note of an exec. 0, or -1 with errno. */
static int leave_note(const char *pid_file, int64_t runtime_ns) {
  char text[64];
  const int length = snprintf(text, sizeof text, "exec at=%lld parent=%d\n", (long long)runtime_ns, (int)getppid());
  const int fd = open_beside(pid_file, "at", O_WRONLY | O_CREAT | O_TRUNC);
  return fd < 0 ? -1 : write_all(fd, text, (size_t)length);
}

int main(int argc, char **argv) {
  const int64_t runtime_ns = monotonic_ns();
  const bool executes = asks_for(argc, argv, "exec");
  if (!executes && !asks_for(argc, argv, "create")) return 0; /* start, kill, delete, state: nothing to do */
  const char *bundle = option(argc, argv, "--bundle");
  const char *pid_file = option(argc, argv, "--pid-file");
  if ((bundle == NULL && !executes) || pid_file == NULL) {
    fprintf(stderr, "fake-runtime: create needs --bundle and --pid-file, exec the latter\n");
    return 2;
  }
  if (executes && leave_note(pid_file, runtime_ns) < 0) {
    perror("fake-runtime: note");
    return 1;
  }
  const pid_t pid = fork();
  if (pid < 0) {
    perror("fake-runtime: fork");
    return 1;
  }
  if (pid == 0 && executes) session(pid_file);
  if (pid == 0) container(bundle, runtime_ns);

  char text[16];
  const int length = snprintf(text, sizeof text, "%d", (int)pid);
  const int fd = open(pid_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || write_all(fd, text, (size_t)length) < 0) {
    perror("fake-runtime: pid file");
    kill(pid, SIGKILL);
    return 1;
  }
  return 0;
}
