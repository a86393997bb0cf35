/*
 * Touches and frees so many bytes of memory, right before a run. A virtual machine with free page reporting hands
 * memory that was free for two seconds back to its host; a page cache write into it then takes the CPU three to ten
 * times as long (580 MB: 0.22 s, or up to 2.3 s; measured 2026-11), and that would land on whoever runs first.
 * Huge pages, because it is the blocks of 2 MiB and more that are handed back: with small pages the spread stayed.
 *
 * Usage: warm-memory BYTES
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096

int main(int argc, char **argv) {
  const size_t length = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
  if (length == 0) {
    fprintf(stderr, "usage: warm-memory BYTES\n");
    return 2;
  }
  char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("warm-memory");
    return 1;
  }
  madvise(memory, length, MADV_HUGEPAGE); /* best effort */
  for (size_t at = 0; at < length; at += PAGE_BYTES) memory[at] = 1;
  return 0;
}
