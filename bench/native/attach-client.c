/*
 * A client of conmon's attach socket that costs as little as one can, so that the monitor sets the pace.
 * It only reads: one packet a recv into 8193 bytes, as engines do, and checks every byte.
 *
 * Usage: attach-client SOCKET flood SPEC TOTAL PACE   reads TOTAL bytes of pattern.h's payload; last= packets= cpu=
 *                                                 PACE: no faster than so many MB/s; 0 = as fast as it can
 *        attach-client SOCKET stamps SKIP COUNT   reads SKIP lines and then COUNT that begin with the time of their write,
 *                                                 CLOCK_MONOTONIC ns in 20 digits; the quantiles of these' age in ns,
 *                                                 p10= p25= p50= p75= p90= p95= p99= p999= max=
 * Prints "connected" and then one line "done key=value ..."; status 0, or 1 with what is wrong on stderr.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "pattern.h"

#define PACKET_BYTES 8193
#define TYPE_STDOUT 2
#define STAMP_DIGITS 20

static int fail(const char *what) {
  fprintf(stderr, "attach-client: %s\n", what);
  return 1;
}

/* Through the directory's fd: the path may be longer than an address. */
static int connect_to(char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char *slash = strrchr(path, '/');
  if (slash == NULL) return -1;
  *slash = '\0';
  const int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory, slash + 1);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (directory < 0 || fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return -1;
  close(directory);
  return fd;
}

/* Sleeps until `bytes` may have been read since `begin`. */
static void keep_pace(int64_t begin, uint64_t bytes, uint64_t pace) {
  const int64_t due = begin + (int64_t)(bytes * 1000 / pace);
  const struct timespec at = {due / 1000000000, due % 1000000000};
  if (due > monotonic_ns()) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static int flood(int fd, const char *spec, uint64_t total, uint64_t pace) {
  static char packet[PACKET_BYTES];
  struct pattern pattern;
  uint64_t offset = 0, packets = 0;
  int64_t begin = 0;
  if (pattern_init(&pattern, spec, PACKET_BYTES) < 0) return fail("no such pattern");
  const int64_t cpu_before = own_cpu_ns();
  while (offset < total) {
    const ssize_t length = recv(fd, packet, sizeof packet, 0);
    if (length < 0 && errno == EINTR) continue;
    if (length <= 1) return fail("the socket ended early");
    if (packet[0] != TYPE_STDOUT) return fail("a packet of another type");
    if (memcmp(packet + 1, pattern_at(&pattern, offset), (size_t)length - 1) != 0) return fail("not what was written");
    offset += (uint64_t)length - 1;
    packets++;
    if (begin == 0) begin = monotonic_ns();
    if (pace > 0) keep_pace(begin, offset, pace);
  }
  const int64_t last = monotonic_ns();
  if (offset != total) return fail("more than was written");
  printf("done last=%lld packets=%llu cpu=%lld\n", (long long)last, (unsigned long long)packets,
         (long long)(own_cpu_ns() - cpu_before));
  return 0;
}

static int by_value(const void *a, const void *b) {
  const int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
  return (left > right) - (left < right);
}

static int stamps(int fd, size_t skip, size_t count) {
  static const struct {
    const char *name;
    double share;
  } quantiles[] = {{"p10", 0.1}, {"p25", 0.25}, {"p50", 0.5},   {"p75", 0.75}, {"p90", 0.9},
                   {"p95", 0.95}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
  static char packet[PACKET_BYTES], text[2 * PACKET_BYTES]; /* a line may begin in one packet and end in the next */
  size_t held = 0;
  int64_t *ages = calloc(count, sizeof *ages);
  if (ages == NULL || count == 0) return fail("no memory");
  for (size_t seen = 0; seen < skip + count;) {
    const ssize_t length = recv(fd, packet, sizeof packet, 0);
    const int64_t now = monotonic_ns();
    if (length <= 1) return fail("the socket ended early");
    if (held >= PACKET_BYTES) return fail("a line that is too long");
    memcpy(text + held, packet + 1, (size_t)length - 1);
    held += (size_t)length - 1;
    text[held] = '\0';
    /* Lines that a busy monitor has put together count each. */
    char *line = text;
    for (char *end; seen < skip + count && (end = strchr(line, '\n')) != NULL; line = end + 1) {
      if (end - line < STAMP_DIGITS) return fail("a line without its time");
      if (seen++ >= skip) ages[seen - 1 - skip] = now - strtoll(line, NULL, 10);
    }
    held -= (size_t)(line - text);
    memmove(text, line, held);
  }
  qsort(ages, count, sizeof *ages, by_value);
  printf("done");
  for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
    const size_t at = (size_t)(quantiles[i].share * (double)count);
    printf(" %s=%lld", quantiles[i].name, (long long)ages[at < count ? at : count - 1]);
  }
  printf("\n");
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 4) return fail("usage: SOCKET flood SPEC TOTAL PACE | SOCKET stamps SKIP COUNT");
  const int fd = connect_to(argv[1]);
  if (fd < 0) return fail(strerror(errno));
  printf("connected\n");
  fflush(stdout);
  if (strcmp(argv[2], "flood") == 0 && argc == 6)
    return flood(fd, argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10));
  if (strcmp(argv[2], "stamps") == 0 && argc == 5) return stamps(fd, strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
  return fail("no such mode");
}
