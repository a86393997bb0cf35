/*
 * Executes the program that the file ARGV0.exec names, with the same arguments, after it has left the time (CLOCK_MONOTONIC
 * ns) in ARGV0.at: when a real runtime was executed. Only the first time; later calls find the file and leave it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>

#include "pattern.h"

static int die(const char *what) {
  perror(what);
  return 127;
}

int main(int argc, char **argv) {
  const int64_t now = monotonic_ns();
  char path[PATH_MAX], program[PATH_MAX], text[24];
  if (argc < 1) return 127;
  snprintf(path, sizeof path, "%s.at", argv[0]);
  const int at = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (at < 0 && errno != EEXIST) return die(path);
  const int length = snprintf(text, sizeof text, "%lld", (long long)now);
  if (at >= 0 && write_all(at, text, (size_t)length) < 0) return die(path);
  snprintf(path, sizeof path, "%s.exec", argv[0]);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t got = fd < 0 ? -1 : read(fd, program, sizeof program - 1);
  if (got <= 0) return die(path);
  program[got] = '\0';
  argv[0] = program;
  execv(program, argv);
  return die(program);
}
