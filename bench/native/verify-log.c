/*
 * Checks that a log holds exactly the payload of pattern.h, byte for byte: no figure counts before this says so.
 * A k8s-file log is parsed record by record and the contents are joined: after F a newline, after P nothing.
 * It reads a finished file, on its own; it never repairs or skips anything.
 *
 * Usage: verify-log k8s LINE TOTAL PATH [STREAM] | verify-log raw LINE TOTAL PATH | verify-log payload LINE TOTAL
 *        verify-log k8s-tail LINE TOTAL PATH     the log was replaced meanwhile: it must hold the end of the payload, not
 *                                                nothing, and begin anywhere
 * With STREAM (stdout, the default, or stderr) and a log of both, records of the other one are passed over: verify both.
 * Prints one JSON line; status 0 = equal, 1 = not, 2 = could not be checked. `payload` writes the payload to stdout.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "pattern.h"

#define PREFIX_BYTES 45   /* "2026-11-23T18:00:00.123456789+00:00 stdout F " */
#define CONTENT_LIMIT 8192 /* the most a record may hold (docs: CRI log format as conmon writes it) */

struct log {
  const char *begin;
  const char *end;
};

struct counts {
  uint64_t records;
  uint64_t partial;
};

static int fault(const struct log *log, const char *at, uint64_t payload, const struct counts *counts,
                 const char *problem) {
  printf("{\"ok\":false,\"problem\":\"%s\",\"logOffset\":%llu,\"payloadOffset\":%llu,\"record\":%llu}\n", problem,
         (unsigned long long)(at - log->begin), (unsigned long long)payload, (unsigned long long)counts->records);
  return 1;
}

static bool is_timestamp(const char *text) {
  static const char shape[] = "0000-00-00T00:00:00.000000000+00:00";
  for (size_t i = 0; i < sizeof shape - 1; i++) {
    const bool right = shape[i] == '0'   ? (unsigned)(text[i] - '0') <= 9
                       : shape[i] == '+' ? text[i] == '+' || text[i] == '-'
                                         : text[i] == shape[i];
    if (!right) return false;
  }
  return true;
}

/* Where the record at `at` that belongs to the other stream ends; NULL when it is none. */
static const char *other_record(const struct log *log, const char *at, const char *other) {
  if (other == NULL || !is_timestamp(at) || memcmp(at + 35, other, 8) != 0 || at[44] != ' ') return NULL;
  const char *newline = memchr(at, '\n', (size_t)(log->end - at));
  return newline == NULL ? NULL : newline + 1;
}

/* `stream` as it stands in a record, ` stdout `; `other` too, or NULL when the log must hold nothing else. */
static int verify_k8s(const struct log *log, const struct pattern *pattern, uint64_t first, uint64_t total,
                      const char *stream, const char *other) {
  struct counts counts = {0, 0};
  uint64_t payload = first;
  const char *at = log->begin;
  while (at < log->end) {
    if (log->end - at <= PREFIX_BYTES) return fault(log, at, payload, &counts, "record cut short");
    const char *passed = other_record(log, at, other);
    if (passed != NULL) {
      at = passed;
      continue;
    }
    if (!is_timestamp(at) || memcmp(at + 35, stream, 8) != 0 || at[44] != ' ')
      return fault(log, at, payload, &counts, "no valid record prefix");
    const char tag = at[43];
    const char *content = at + PREFIX_BYTES;
    const size_t room = (size_t)(log->end - content);
    const size_t rest_of_line = pattern->line_bytes - 1 - payload % pattern->line_bytes;
    const char *wanted = pattern_at(pattern, payload);
    if (tag == 'F') {
      if (rest_of_line > CONTENT_LIMIT) return fault(log, at, payload, &counts, "F where the line goes on");
      if (room <= rest_of_line) return fault(log, at, payload, &counts, "record cut short");
      if (memcmp(content, wanted, rest_of_line) != 0 || content[rest_of_line] != '\n')
        return fault(log, at, payload, &counts, "content differs");
      if (total - payload < rest_of_line + 1) return fault(log, at, payload, &counts, "more than was written");
      payload += rest_of_line + 1;
      at = content + rest_of_line + 1;
    } else if (tag == 'P') {
      const char *newline = memchr(content, '\n', room < CONTENT_LIMIT + 1 ? room : CONTENT_LIMIT + 1);
      if (newline == NULL)
        return fault(log, at, payload, &counts, room <= CONTENT_LIMIT ? "record cut short" : "record too long");
      const size_t length = (size_t)(newline - content);
      if (length == 0) return fault(log, at, payload, &counts, "empty P record");
      if (length > rest_of_line) return fault(log, at, payload, &counts, "P where the line ends");
      if (memcmp(content, wanted, length) != 0) return fault(log, at, payload, &counts, "content differs");
      if (total - payload < length) return fault(log, at, payload, &counts, "more than was written");
      payload += length;
      at = newline + 1;
      counts.partial++;
    } else {
      return fault(log, at, payload, &counts, "tag is neither P nor F");
    }
    counts.records++;
  }
  if (payload != total) return fault(log, at, payload, &counts, "less than was written");
  printf("{\"ok\":true,\"logBytes\":%llu,\"records\":%llu,\"partial\":%llu}\n",
         (unsigned long long)(log->end - log->begin), (unsigned long long)counts.records,
         (unsigned long long)counts.partial);
  return 0;
}

/* Bytes of payload that the records hold, whatever these are; one that is no record is found by who verifies. */
static uint64_t contents(const struct log *log) {
  uint64_t sum = 0;
  for (const char *at = log->begin; at < log->end;) {
    const char *newline = memchr(at, '\n', (size_t)(log->end - at));
    const char *end = newline == NULL ? log->end : newline + 1;
    if (end - at > PREFIX_BYTES) sum += (uint64_t)(end - at - PREFIX_BYTES) - (at[43] == 'P');
    at = end;
  }
  return sum;
}

/* The payload's last bytes, as many as there are. */
static int verify_tail(const struct log *log, const struct pattern *pattern, uint64_t total) {
  const struct counts counts = {0, 0};
  const uint64_t held = contents(log);
  if (held == 0 || held > total) return fault(log, log->begin, 0, &counts, held == 0 ? "nothing" : "more than was written");
  return verify_k8s(log, pattern, total - held, total, " stdout ", NULL);
}

static int verify_raw(const struct log *log, const struct pattern *pattern, uint64_t total) {
  const struct counts counts = {0, 0};
  uint64_t payload = 0;
  for (const char *at = log->begin; at < log->end;) {
    const size_t left = (size_t)(log->end - at);
    const size_t length = left < PATTERN_CHUNK_BYTES ? left : PATTERN_CHUNK_BYTES;
    if (memcmp(at, pattern_at(pattern, payload), length) != 0)
      return fault(log, at, payload, &counts, "content differs");
    at += length;
    payload += length;
  }
  if (payload != total)
    return fault(log, log->end, payload, &counts, payload < total ? "less than was written" : "more than was written");
  printf("{\"ok\":true,\"logBytes\":%llu,\"records\":0,\"partial\":0}\n", (unsigned long long)payload);
  return 0;
}

static int map(const char *path, struct log *log) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) < 0) return -1;
  const size_t length = (size_t)status.st_size;
  log->begin = log->end = "";
  if (length > 0) {
    void *mapped = mmap(NULL, length, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (mapped == MAP_FAILED) return -1;
    log->begin = mapped;
    log->end = log->begin + length;
  }
  close(fd);
  return 0;
}

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  const bool dumps = strcmp(mode, "payload") == 0;
  const bool k8s = strcmp(mode, "k8s") == 0;
  const bool tail = strcmp(mode, "k8s-tail") == 0;
  const bool mixed = k8s && argc == 6;
  const bool from_stderr = mixed && strcmp(argv[5], "stderr") == 0;
  if ((argc != (dumps ? 4 : 5) && !mixed) || (!dumps && !k8s && !tail && strcmp(mode, "raw") != 0) ||
      (mixed && !from_stderr && strcmp(argv[5], "stdout") != 0)) {
    fprintf(stderr, "usage: verify-log k8s LINE TOTAL PATH [STREAM] | k8s-tail LINE TOTAL PATH | raw LINE TOTAL PATH | payload LINE TOTAL\n");
    return 2;
  }
  const uint64_t total = strtoull(argv[3], NULL, 10);
  struct pattern pattern;
  struct log log;
  if (pattern_init(&pattern, argv[2], strtoull(argv[2], NULL, 10) + PATTERN_CHUNK_BYTES) < 0) {
    perror("verify-log");
    return 2;
  }
  if (dumps) return pattern_write(&pattern, STDOUT_FILENO, total, PATTERN_CHUNK_BYTES, 0) < 0 ? 2 : 0;
  if (map(argv[4], &log) < 0) {
    perror(argv[4]);
    return 2;
  }
  const char *stream = from_stderr ? " stderr " : " stdout ";
  const char *other = !mixed ? NULL : from_stderr ? " stdout " : " stderr ";
  if (tail) return verify_tail(&log, &pattern, total);
  return k8s ? verify_k8s(&log, &pattern, 0, total, stream, other) : verify_raw(&log, &pattern, total);
}
