/*
 * preload.so, which the launcher has the dynamic linker load in front of Node: two things that Node gives no option for.
 * One call of an exported function before Node's own first line, and one system call that is answered here. It keeps
 * nothing, and where Node does without either of them it does nothing. Figures: docs/adr/0050-in-front-of-node.md.
 */
#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>

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

static long ask_kernel(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	long result;
	register long fourth __asm__("r10") = d;
	register long fifth __asm__("r8") = e;
	register long sixth __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long eighth __asm__("x8") = number;
	register long result __asm__("x0") = a;
	register long second __asm__("x1") = b;
	register long third __asm__("x2") = c;
	register long fourth __asm__("x3") = d;
	register long fifth __asm__("x4") = e;
	register long sixth __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(result)
			 : "r"(eighth), "r"(second), "r"(third), "r"(fourth), "r"(fifth), "r"(sixth)
			 : "memory");
	return result;
#else
#error "how does this architecture ask its kernel?"
#endif
}

/*
 * syscall(2) of glibc, but for io_uring_setup, which is ENOSYS as with a kernel that has none: libuv makes a ring for each
 * event loop, with an fd, and does well without. As in glibc six arguments are passed on, whatever there are.
 */
EXPORTED long syscall(long number, long a, long b, long c, long d, long e, long f);
long syscall(long number, long a, long b, long c, long d, long e, long f)
{
	long result = number == SYS_io_uring_setup ? -ENOSYS : ask_kernel(number, a, b, c, d, e, f);

	/* The kernel's errors are the last page of numbers (syscall(2), Linux err.h MAX_ERRNO). */
	if (result < -4095 || result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}
