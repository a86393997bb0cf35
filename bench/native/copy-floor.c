/*
 * The floor that no monitor can pass: one process that does nothing but copy a pipe into a file, as cat would, with
 * the pipe and the reads as large as they go. A child writes the payload of pattern.h into the pipe.
 * Prints one JSON line: wall time from the first write to the last byte in the file, and the copier's own CPU time.
 *
 * Usage: copy-floor LINE TOTAL PATH
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "pattern.h"

#define PIPE_BYTES (1 << 20)
#define READ_BYTES ((size_t)1 << 20) /* best of 64 KiB to 1 MiB (docs/adr/0028-long-reads.md) */

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void generate(const char *line, const char *total, int fd, int64_t *first_ns) {
  struct pattern pattern;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (pattern_init(&pattern, line, PATTERN_CHUNK_BYTES) < 0) _exit(1);
  *first_ns = monotonic_ns();
  _exit(pattern_write(&pattern, fd, strtoull(total, NULL, 10), PATTERN_CHUNK_BYTES, 0) < 0);
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: copy-floor LINE TOTAL PATH\n");
    return 2;
  }
  int ends[2];
  int64_t *first_ns = mmap(NULL, sizeof *first_ns, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char *buffer = aligned_alloc(4096, READ_BYTES); /* as cat has it: the kernel copies it faster (docs/adr/0047-large-writes.md) */
  const int log_fd = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0640);
  if (first_ns == MAP_FAILED || buffer == NULL || log_fd < 0 || pipe2(ends, O_CLOEXEC) < 0) die(argv[3]);
  fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* best effort, as the monitors do it */

  const pid_t pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) generate(argv[1], argv[2], ends[1], first_ns);
  close(ends[1]);

  const int64_t cpu_before = own_cpu_ns();
  unsigned long long copied = 0;
  for (;;) {
    const ssize_t got = read(ends[0], buffer, READ_BYTES);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) die("read");
    if (got == 0) break;
    if (write_all(log_fd, buffer, (size_t)got) < 0) die(argv[3]);
    copied += (unsigned long long)got;
  }
  const int64_t wall_ns = monotonic_ns() - *first_ns;
  const int64_t cpu_ns = own_cpu_ns() - cpu_before;
  int status = 0;
  if (waitpid(pid, &status, 0) < 0 || status != 0) {
    fprintf(stderr, "copy-floor: the generator failed\n");
    return 1;
  }
  printf("{\"wallNs\":%lld,\"cpuNs\":%lld,\"bytes\":%llu}\n", (long long)wall_ns, (long long)cpu_ns, copied);
  return 0;
}
