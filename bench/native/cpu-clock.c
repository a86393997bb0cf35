/*
 * Prints the CPU time that processes have used so far, in ns, one line a pid: all threads, those that ended too.
 * /proc/PID/stat says the same in ticks of 10 ms, too coarse for a run of half a second. -1 = no such process.
 *
 * Usage: cpu-clock PID...
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    clockid_t clock_id;
    struct timespec used;
    if (clock_getcpuclockid(atoi(argv[i]), &clock_id) == 0 && clock_gettime(clock_id, &used) == 0)
      printf("%lld\n", (long long)used.tv_sec * 1000000000 + used.tv_nsec);
    else
      puts("-1");
  }
  return 0;
}
