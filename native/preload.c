/*
 * preload.so, which the launcher has the dynamic linker load in front of Node: two things that Node gives no option for.
 * One call of an exported function before Node's own first line, and one system call that is answered here. It keeps
 * nothing, and where Node does without either of them it does nothing. Figures: docs/adr/0050-in-front-of-node.md.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>

#include "system-call.h"

/* 425 everywhere; headers of before Linux 5.1 do not know it. */
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup 425
#endif

#define EXPORTED __attribute__((visibility("default")))

/*
 * absl::SetMutexDeadlockDetectionMode(kIgnore = 0). This build of Node looks at each pair of locks for an order that could
 * deadlock, as debug builds do, and makes a table of 1 MiB for that with its first lock.
 */
extern void set_deadlock_detection(int mode)
	__asm__("_ZN4absl29SetMutexDeadlockDetectionModeENS_15OnDeadlockCycleE") __attribute__((weak));

__attribute__((constructor)) static void before_node(void)
{
	if (set_deadlock_detection != NULL)
		set_deadlock_detection(0);
}

/*
 * syscall(2) of glibc, but for io_uring_setup, which is ENOSYS as with a kernel that has none: libuv makes a ring for each
 * event loop, with an fd, and does well without. As in glibc six arguments are passed on, whatever there are.
 */
EXPORTED long syscall(long number, long a, long b, long c, long d, long e, long f);
long syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long result = number == SYS_io_uring_setup ? -ENOSYS : system_call(number, a, b, c, d, e, f);

	/* The kernel's errors are the last page of numbers (syscall(2), Linux err.h MAX_ERRNO). */
	if (result < -4095 || result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}
