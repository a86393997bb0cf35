/*
 * What runs in a container of a real runtime, so that the bench knows when it does what.
 *
 * Usage: in-container wait PATH   prints `ready`, waits for SIGTERM, writes the time (CLOCK_MONOTONIC ns) into PATH, ends
 *        in-container say TEXT    prints TEXT and ends
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>

#include "pattern.h"

static int wait_for_end(const char *path) {
  sigset_t signals;
  int number;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  /* Before anybody is told: a pid 1 that does not expect a signal never gets it. */
  if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0) return 1;
  const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0 || write_all(STDOUT_FILENO, "ready\n", 6) < 0 || sigwait(&signals, &number) != 0) return 1;
  char text[24];
  const int length = snprintf(text, sizeof text, "%lld", (long long)monotonic_ns());
  return write_all(fd, text, (size_t)length) < 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "wait") == 0) return wait_for_end(argv[2]);
  if (argc == 3 && strcmp(argv[1], "say") == 0) return puts(argv[2]) < 0 || fflush(stdout) != 0;
  fprintf(stderr, "usage: in-container wait PATH | say TEXT\n");
  return 2;
}
