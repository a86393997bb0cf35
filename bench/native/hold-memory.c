/*
 * Touches so many bytes of memory, as warm-memory does, and frees them bit by bit while others use them: for runs that are
 * longer than the two seconds after which a virtual machine with free page reporting hands free memory back to its host.
 * That pass takes whatever is free just then, amid whoever's run, for a quarter of a second and with all that is used of it
 * afterwards being first touched again (docs/adr/0069-fifty-at-once.md). Only blocks of 2 MiB and more are handed back:
 * of those no more than 192 MiB are free at a time here.
 *
 * Smaller blocks are taken first by who writes little by little, are parts of larger ones that may have been handed back
 * before they were split, and are not touched when large ones are: so those are touched by themselves, and freed at once.
 *
 * Usage: hold-memory BYTES    prints `warm`; ends when its stdin does
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES ((size_t)4096)
#define LARGE_ORDER 9
#define FREE_BYTES ((size_t)192 << 20)
#define PIECE_BYTES ((size_t)8 << 20)
#define LOOK_MS 10 /* in which two CPUs write 25 MB */

struct blocks {
  size_t small_bytes;
  size_t large_bytes;
};

/* What is free in which blocks (/proc/buddyinfo: of each zone the number of blocks of 1, 2, 4... pages). */
static struct blocks free_blocks(int fd) {
  char text[8192];
  struct blocks found = {0, 0};
  const ssize_t length = pread(fd, text, sizeof text - 1, 0);
  text[length > 0 ? length : 0] = '\0';
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    char *at = strstr(line, "zone"), *end = NULL;
    if (at == NULL) continue;
    at += strlen("zone");
    at += strspn(at, " ");
    at += strcspn(at, " ");
    for (int order = 0;; order++, at = end) {
      const size_t bytes = (size_t)strtoull(at, &end, 10) * PAGE_BYTES << order;
      if (end == at) break;
      *(order < LARGE_ORDER ? &found.small_bytes : &found.large_bytes) += bytes;
    }
  }
  return found;
}

static char *touched(size_t length, int advice) {
  char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("hold-memory");
    exit(1);
  }
  madvise(memory, length, advice); /* best effort */
  for (size_t at = 0; at < length; at += PAGE_BYTES) memory[at] = 1;
  return memory;
}

/* Frees pieces of `memory` until so much is free in large blocks, or none is left. How many bytes that were. */
static size_t free_up_to(size_t enough, int fd, char *memory, size_t length) {
  size_t freed = 0;
  for (size_t now = free_blocks(fd).large_bytes; freed < length && now < enough; now += PIECE_BYTES) {
    munmap(memory + freed, PIECE_BYTES);
    freed += PIECE_BYTES;
  }
  return freed;
}

int main(int argc, char **argv) {
  size_t length = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
  const int fd = open("/proc/buddyinfo", O_RDONLY | O_CLOEXEC);
  if (length == 0 || fd < 0) {
    fprintf(stderr, "usage: hold-memory BYTES\n");
    return 2;
  }
  length = (length + PIECE_BYTES - 1) / PIECE_BYTES * PIECE_BYTES;
  const size_t there = free_blocks(fd).small_bytes, small = (there < length ? there : length) + PAGE_BYTES;
  char *few = touched(small, MADV_NOHUGEPAGE), *large = touched(length, MADV_HUGEPAGE);
  munmap(few, small);

  /* It works for 20 us a look; with a hundred processes ready it would else have to wait for their turns. Best effort. */
  const struct sched_param first = {.sched_priority = 1};
  sched_setscheduler(0, SCHED_FIFO, &first);
  /* What was free before is not touched, and stays what is taken last. */
  const size_t enough = free_blocks(fd).large_bytes + FREE_BYTES;
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  size_t freed = free_up_to(enough, fd, large, length);
  if (puts("warm") < 0 || fflush(stdout) != 0) return 1;
  while (poll(&input, 1, LOOK_MS) == 0) freed += free_up_to(enough, fd, large + freed, length - freed);
  return 0;
}
