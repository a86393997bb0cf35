/*
 * What syscall(2) answers a program in front of which preload.so was loaded, and what it passes to the kernel: one line
 * each. Six arguments are those of mmap, of which the last decides what is read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char zeros[256];

	if (argc != 2)
		return 2;
	long result = syscall(SYS_io_uring_setup, 8, zeros);
	printf("io_uring_setup %ld %s\n", result, strerrorname_np(errno));
	errno = 0;
	result = syscall(SYS_getpid);
	printf("getpid %s %d\n", result == getpid() ? "same" : "other", errno);
	result = syscall(SYS_close, -1);
	printf("close %ld %s\n", result, strerrorname_np(errno));
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	long page = sysconf(_SC_PAGESIZE);
	result = syscall(SYS_mmap, NULL, page, PROT_READ, MAP_PRIVATE, fd, page);
	printf("mmap %.6s\n", result == -1 ? "failed" : (const char *)result);
	return 0;
}
