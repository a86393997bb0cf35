/*
 * Waits until a file appears in a directory, by rename or by creation, and prints the time (CLOCK_MONOTONIC ns) at
 * which it was told. It prints `ready` first, once it watches. It never outlives its limit of 30 s.
 *
 * Usage: await-file DIRECTORY NAME
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/inotify.h>

#include "pattern.h"

#define LIMIT_MS 30000

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: await-file DIRECTORY NAME\n");
    return 2;
  }
  const int fd = inotify_init1(IN_CLOEXEC);
  if (fd < 0 || inotify_add_watch(fd, argv[1], IN_CREATE | IN_MOVED_TO) < 0) {
    perror(argv[1]);
    return 1;
  }
  puts("ready");
  fflush(stdout);
  _Alignas(struct inotify_event) char events[16384];
  struct pollfd polled = {.fd = fd, .events = POLLIN};
  while (poll(&polled, 1, LIMIT_MS) > 0) {
    const int64_t now = monotonic_ns();
    const ssize_t got = read(fd, events, sizeof events);
    for (ssize_t at = 0; at < got;) {
      const struct inotify_event *event = (const struct inotify_event *)(const void *)(events + at);
      if (event->len > 0 && strcmp(event->name, argv[2]) == 0) {
        printf("%lld\n", (long long)now);
        return 0;
      }
      at += (ssize_t)(sizeof *event + event->len);
    }
  }
  fprintf(stderr, "await-file: no %s within %d ms\n", argv[2], LIMIT_MS);
  return 1;
}
