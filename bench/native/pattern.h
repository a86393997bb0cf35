/*
 * The bytes that a bench container writes: lines of one fixed length, newline included, each with its number at
 * the start, so that a lost, doubled or moved line cannot look like its neighbour. A line is text, or every byte but the
 * newline (NUL, invalid UTF-8, terminal escapes) behind its number. The pattern repeats after about 1 MiB. Shared by the generator and the verifier, which therefore never have to pass the payload to each other.
 */
#ifndef CONMON_BENCH_PATTERN_H
#define CONMON_BENCH_PATTERN_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATTERN_BYTES ((size_t)1 << 20)
#define PATTERN_CHUNK_BYTES ((size_t)64 << 10)

struct pattern {
  size_t line_bytes;   /* one line with its newline */
  size_t period_bytes; /* whole lines, about PATTERN_BYTES, at least one line */
  char *bytes;         /* period_bytes, then as much of the next period as the longest view needs */
};

static inline int64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t own_cpu_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/*
 * Builds the pattern that `spec` names: the length of a line with its newline, and behind it a `b` for binary lines or a
 * `w` for lines of words: letters and blanks, nothing that any format has to escape.
 * Any view of `view_bytes` that starts inside the period is contiguous. 0, or -1 and errno.
 */
static inline int pattern_init(struct pattern *pattern, const char *spec, size_t view_bytes) {
  char *rest = NULL;
  const size_t line_bytes = strtoull(spec, &rest, 10);
  const int binary = *rest == 'b', words = *rest == 'w';
  if (line_bytes == 0 || line_bytes > PATTERN_BYTES) {
    errno = EINVAL;
    return -1;
  }
  const size_t lines = PATTERN_BYTES / line_bytes;
  pattern->line_bytes = line_bytes;
  pattern->period_bytes = lines * line_bytes;
  pattern->bytes = malloc(pattern->period_bytes + view_bytes);
  if (pattern->bytes == NULL) return -1;

  uint32_t noise = 2463534242u;
  char *out = pattern->bytes;
  for (size_t line = 0; line < lines; line++) {
    char number[24];
    snprintf(number, sizeof number, "%08zu ", line);
    /* A line too short for the whole number keeps its last digits: those tell neighbours apart. */
    const size_t room = line_bytes - 1;
    const size_t digits = room < 9 ? (room < 8 ? room : 8) : 9;
    memcpy(out, room < 8 ? number + (8 - room) : number, digits);
    for (size_t i = digits; i < room; i++) {
      noise ^= noise << 13;
      noise ^= noise >> 17;
      noise ^= noise << 5;
      out[i] = (char)(binary  ? noise % 255 + (noise % 255 >= '\n')
                      : words ? (noise % 7 == 0 ? ' ' : 'a' + noise % 26)
                              : '!' + noise % 94);
    }
    out[room] = '\n';
    out += line_bytes;
  }
  for (size_t i = 0; i < view_bytes; i++) out[i] = pattern->bytes[i % pattern->period_bytes];
  return 0;
}

/* The bytes that stand at `offset` of the endless payload; valid for the view length given to pattern_init. */
static inline const char *pattern_at(const struct pattern *pattern, uint64_t offset) {
  return pattern->bytes + offset % pattern->period_bytes;
}

/* Writes all of it: 0, or -1 and errno. */
static inline int write_all(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    const ssize_t written = write(fd, bytes, length);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return -1;
    bytes += written;
    length -= (size_t)written;
  }
  return 0;
}

/*
 * Writes the first `total_bytes` of the payload in writes of `chunk_bytes`, one every `every_ns` if that is not 0 (the
 * clock is watched meanwhile: a sleep takes 50 us more than it should): 0, or -1 and errno.
 */
static inline int pattern_write(const struct pattern *pattern, int fd, uint64_t total_bytes, size_t chunk_bytes,
                                int64_t every_ns) {
  uint64_t offset = 0;
  int64_t next = every_ns == 0 ? 0 : monotonic_ns();
  while (offset < total_bytes) {
    if (every_ns != 0) {
      while (monotonic_ns() < next) continue;
      next += every_ns;
    }
    const uint64_t left = total_bytes - offset;
    const size_t length = left < chunk_bytes ? (size_t)left : chunk_bytes;
    if (write_all(fd, pattern_at(pattern, offset), length) < 0) return -1;
    offset += length;
  }
  return 0;
}

#endif
