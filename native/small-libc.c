/*
 * What the launcher needs of a C library, and nothing that runs before main: glibc's static start asks the CPU what it is
 * 43 times, which on a virtual machine is 0.2 ms, half of a launcher's CPU (docs/adr/0051-a-launcher-without-glibc.md).
 * The declarations are glibc's headers'; a launcher that is linked with glibc instead does the same, and tests check both.
 * One thread; no locale, no allocator but whole pages, no buffers. x86-64 and arm64.
 */
#undef _FORTIFY_SOURCE
#undef _FILE_OFFSET_BITS
#undef _TIME_BITS
#define _GNU_SOURCE
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "system-call.h"

/* The kernel's, in bytes. */
#define SIGSET_BYTES 8
#define SA_RESTORER_FLAG 0x04000000UL
/* The kernel answers with the negative of an errno up to this. */
#define ERRNO_MAX 4095UL
#define PAGE_BYTES 4096UL

char **environ;
/* What the compiler puts between buffers and return addresses (-mstack-protector-guard=global). */
uintptr_t __stack_chk_guard;
static int last_errno;

int main(int argc, char **argv, char **envp);

int *__errno_location(void)
{
	return &last_errno;
}

/* ---- system calls ------------------------------------------------------------------------------------------------ */

#if defined(__x86_64__)
__asm__(".text\n"
	".globl _start\n"
	".type _start, @function\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start_program\n"
	".type return_from_signal, @function\n"
	"return_from_signal:\n"
	"	mov $15, %eax\n" /* rt_sigreturn */
	"	syscall\n");

void return_from_signal(void) __attribute__((visibility("hidden")));
#define RESTORER return_from_signal
#elif defined(__aarch64__)
__asm__(".text\n"
	".globl _start\n"
	".type _start, %function\n"
	"_start:\n"
	"	mov x29, #0\n"
	"	mov x30, #0\n"
	"	mov x0, sp\n"
	"	bl start_program\n");

/* The kernel brings its own. */
#define RESTORER NULL
#else
#error "unknown architecture: build with LIBC=system"
#endif

static long answer(long result)
{
	if ((unsigned long)result < -ERRNO_MAX)
		return result;
	last_errno = (int)-result;
	return -1;
}

#define CALL_6(number, a, b, c, d, e, f) \
	answer(system_call(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)))
#define CALL_5(number, a, b, c, d, e) CALL_6(number, a, b, c, d, e, 0)
#define CALL_4(number, a, b, c, d) CALL_6(number, a, b, c, d, 0, 0)
#define CALL_3(number, a, b, c) CALL_6(number, a, b, c, 0, 0, 0)
#define CALL_2(number, a, b) CALL_6(number, a, b, 0, 0, 0, 0)
#define CALL_1(number, a) CALL_6(number, a, 0, 0, 0, 0, 0)

long syscall(long number, ...)
{
	va_list args;
	long values[6];

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		values[i] = va_arg(args, long);
	va_end(args);
	return CALL_6(number, values[0], values[1], values[2], values[3], values[4], values[5]);
}

ssize_t read(int fd, void *bytes, size_t length)
{
	return CALL_3(SYS_read, fd, bytes, length);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
	return CALL_3(SYS_write, fd, bytes, length);
}

int close(int fd)
{
	return (int)CALL_1(SYS_close, fd);
}

int openat(int directory_fd, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode = 0;

	if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {
		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
	}
	return (int)CALL_4(SYS_openat, directory_fd, path, flags, mode);
}

/* Never with O_CREAT. */
int open(const char *path, int flags, ...)
{
	return openat(AT_FDCWD, path, flags);
}

off_t lseek(int fd, off_t offset, int whence)
{
	return CALL_3(SYS_lseek, fd, offset, whence);
}

int fcntl(int fd, int command, ...)
{
	va_list args;

	va_start(args, command);
	long argument = va_arg(args, long);
	va_end(args);
	return (int)CALL_3(SYS_fcntl, fd, command, argument);
}

int fstat(int fd, struct stat *info)
{
	return (int)CALL_2(SYS_fstat, fd, info);
}

ssize_t readlink(const char *path, char *target, size_t size)
{
	return CALL_4(SYS_readlinkat, AT_FDCWD, path, target, size);
}

int access(const char *path, int mode)
{
	return (int)CALL_3(SYS_faccessat, AT_FDCWD, path, mode);
}

ssize_t getdents64(int fd, void *entries, size_t size)
{
	return CALL_3(SYS_getdents64, fd, entries, size);
}

int pipe2(int fds[2], int flags)
{
	return (int)CALL_2(SYS_pipe2, fds, flags);
}

int memfd_create(const char *name, unsigned int flags)
{
	return (int)CALL_2(SYS_memfd_create, name, flags);
}

mode_t umask(mode_t mask)
{
	return (mode_t)CALL_1(SYS_umask, mask);
}

int socket(int domain, int type, int protocol)
{
	return (int)CALL_3(SYS_socket, domain, type, protocol);
}

/* In C the headers make of it any kind of address: a transparent union. */
int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t length)
{
	return (int)CALL_3(SYS_connect, fd, address.__sockaddr__, length);
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
	return (int)CALL_5(SYS_getsockopt, fd, level, name, value, length);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
	return CALL_6(SYS_sendto, fd, bytes, length, flags, NULL, 0);
}

ssize_t recv(int fd, void *bytes, size_t length, int flags)
{
	return CALL_6(SYS_recvfrom, fd, bytes, length, flags, NULL, NULL);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	return CALL_3(SYS_sendmsg, fd, message, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	return CALL_3(SYS_recvmsg, fd, message, flags);
}

int shutdown(int fd, int how)
{
	return (int)CALL_2(SYS_shutdown, fd, how);
}

int poll(struct pollfd *set, nfds_t count, int timeout_ms)
{
	struct timespec left = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};

	return (int)CALL_5(SYS_ppoll, set, count, timeout_ms < 0 ? NULL : &left, NULL, SIGSET_BYTES);
}

int clock_gettime(clockid_t clock_id, struct timespec *now)
{
	return (int)CALL_2(SYS_clock_gettime, clock_id, now);
}

pid_t getpid(void)
{
	return (pid_t)CALL_1(SYS_getpid, 0);
}

pid_t getppid(void)
{
	return (pid_t)CALL_1(SYS_getppid, 0);
}

uid_t geteuid(void)
{
	return (uid_t)CALL_1(SYS_geteuid, 0);
}

pid_t setsid(void)
{
	return (pid_t)CALL_1(SYS_setsid, 0);
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
	return (int)CALL_4(SYS_prlimit64, 0, resource, NULL, limit);
}

ssize_t getrandom(void *bytes, size_t length, unsigned int flags)
{
	return CALL_3(SYS_getrandom, bytes, length, flags);
}

pid_t fork(void)
{
	return (pid_t)CALL_5(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

int execve(const char *path, char *const argv[], char *const envp[])
{
	return (int)CALL_3(SYS_execve, path, argv, envp);
}

pid_t waitpid(pid_t pid, int *status, int options)
{
	return (pid_t)CALL_4(SYS_wait4, pid, status, options, NULL);
}

int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	return (int)CALL_5(SYS_waitid, type, id, info, options, NULL);
}

int kill(pid_t pid, int signal_number)
{
	return (int)CALL_2(SYS_kill, pid, signal_number);
}

_Noreturn void _exit(int status)
{
	for (;;)
		system_call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

/* Only what all architectures agree on: no handler with three arguments, no old action. */
int sigaction(int signal_number, const struct sigaction *action, struct sigaction *old)
{
	struct {
		__sighandler_t handler;
		unsigned long flags;
		void (*restorer)(void);
		unsigned long mask;
	} wanted = {.handler = action->sa_handler, .flags = (unsigned int)action->sa_flags, .restorer = RESTORER};

	(void)old;
	if (wanted.restorer != NULL)
		wanted.flags |= SA_RESTORER_FLAG;
	memcpy(&wanted.mask, &action->sa_mask, sizeof(wanted.mask));
	return (int)CALL_4(SYS_rt_sigaction, signal_number, &wanted, NULL, SIGSET_BYTES);
}

/* @returns SIG_DFL where others answer the old handler. */
__sighandler_t signal(int signal_number, __sighandler_t handler)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

	return sigaction(signal_number, &action, NULL) == -1 ? SIG_ERR : SIG_DFL;
}

int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	return (int)CALL_4(SYS_rt_sigprocmask, how, set, old, SIGSET_BYTES);
}

int sigemptyset(sigset_t *set)
{
	*set = (sigset_t){0};
	return 0;
}

int sigaddset(sigset_t *set, int signal_number)
{
	set->__val[0] |= 1UL << (signal_number - 1);
	return 0;
}

int __libc_current_sigrtmax(void)
{
	return _NSIG - 1;
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

/* In a loop: or the compiler makes of it a call of the function that it is in. */
#define AS_IT_IS __asm__ volatile("")

void *memcpy(void *restrict target, const void *restrict source, size_t length)
{
	unsigned char *to = target;
	const unsigned char *from = source;

	for (; length > 0; length--) {
		*to++ = *from++;
		AS_IT_IS;
	}
	return target;
}

void *memset(void *target, int byte, size_t length)
{
	for (unsigned char *to = target; length > 0; length--) {
		*to++ = (unsigned char)byte;
		AS_IT_IS;
	}
	return target;
}

size_t strlen(const char *text)
{
	const char *end = text;

	for (; *end != '\0'; end++)
		AS_IT_IS;
	return (size_t)(end - text);
}

int strncmp(const char *one, const char *other, size_t length)
{
	for (; length > 0; one++, other++, length--)
		if (*one != *other || *one == '\0')
			return (unsigned char)*one - (unsigned char)*other;
	return 0;
}

int strcmp(const char *one, const char *other)
{
	return strncmp(one, other, SIZE_MAX);
}

char *strchr(const char *text, int wanted)
{
	for (; *text != (char)wanted; text++) {
		if (*text == '\0')
			return NULL;
		AS_IT_IS;
	}
	return (char *)(uintptr_t)text;
}

char *strrchr(const char *text, int wanted)
{
	const char *found = NULL;

	for (; (text = strchr(text, wanted)) != NULL; text++) {
		found = text;
		if (wanted == '\0')
			break;
	}
	return (char *)(uintptr_t)found;
}

size_t strspn(const char *text, const char *accepted)
{
	size_t length = 0;

	while (text[length] != '\0' && strchr(accepted, text[length]) != NULL)
		length++;
	return length;
}

/* What strtol and strtoull have in common: base 10, digits after blanks and a sign. */
struct digits {
	unsigned long long value;
	bool negative;
	bool fits;
};

static struct digits parse_digits(const char *text, char **end, int base)
{
	struct digits found = {.fits = base == 10};
	const char *at = text + strspn(text, " \t\n\v\f\r"), *first;

	found.negative = *at == '-';
	if (*at == '-' || *at == '+')
		at++;
	for (first = at; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(found.value, 10ULL, &found.value) ||
		    __builtin_add_overflow(found.value, (unsigned int)(*at - '0'), &found.value))
			found.fits = false;
	if (end != NULL)
		*end = (char *)(uintptr_t)(at == first ? text : at);
	return found;
}

unsigned long long strtoull(const char *restrict text, char **restrict end, int base)
{
	struct digits found = parse_digits(text, end, base);

	if (found.fits)
		return found.negative ? -found.value : found.value;
	last_errno = ERANGE;
	return ULLONG_MAX;
}

long strtol(const char *restrict text, char **restrict end, int base)
{
	struct digits found = parse_digits(text, end, base);

	if (found.fits && found.value <= (unsigned long long)LONG_MAX + found.negative)
		return (long)(found.negative ? -found.value : found.value);
	last_errno = ERANGE;
	return found.negative ? LONG_MIN : LONG_MAX;
}

char *getenv(const char *name)
{
	size_t length = strlen(name);

	for (char **entry = environ; *entry != NULL; entry++)
		if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
			return *entry + length + 1;
	return NULL;
}

/* Whole pages of the kernel's, never given back. */
void *calloc(size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - PAGE_BYTES) {
		last_errno = ENOMEM;
		return NULL;
	}
	long address = CALL_6(SYS_mmap, NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return address == -1 ? NULL : (void *)address;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

/* As glibc words them; of fixed size, since a table of addresses would have to be relocated at each start. */
static const char errors[][40] = {
	[EPERM] = "Operation not permitted",
	[ENOENT] = "No such file or directory",
	[ESRCH] = "No such process",
	[EINTR] = "Interrupted system call",
	[EIO] = "Input/output error",
	[ENXIO] = "No such device or address",
	[E2BIG] = "Argument list too long",
	[ENOEXEC] = "Exec format error",
	[EBADF] = "Bad file descriptor",
	[ECHILD] = "No child processes",
	[EAGAIN] = "Resource temporarily unavailable",
	[ENOMEM] = "Cannot allocate memory",
	[EACCES] = "Permission denied",
	[EFAULT] = "Bad address",
	[EBUSY] = "Device or resource busy",
	[EEXIST] = "File exists",
	[ENODEV] = "No such device",
	[ENOTDIR] = "Not a directory",
	[EISDIR] = "Is a directory",
	[EINVAL] = "Invalid argument",
	[ENFILE] = "Too many open files in system",
	[EMFILE] = "Too many open files",
	[ENOTTY] = "Inappropriate ioctl for device",
	[ETXTBSY] = "Text file busy",
	[EFBIG] = "File too large",
	[ENOSPC] = "No space left on device",
	[ESPIPE] = "Illegal seek",
	[EROFS] = "Read-only file system",
	[EPIPE] = "Broken pipe",
	[ERANGE] = "Numerical result out of range",
	[ENAMETOOLONG] = "File name too long",
	[ENOSYS] = "Function not implemented",
	[ELOOP] = "Too many levels of symbolic links",
	[EOVERFLOW] = "Value too large for defined data type",
	[ELIBBAD] = "Accessing a corrupted shared library",
	[ENOTSOCK] = "Socket operation on non-socket",
	[EOPNOTSUPP] = "Operation not supported",
	[ENOBUFS] = "No buffer space available",
	[ECONNRESET] = "Connection reset by peer",
	[ENOTCONN] = "Transport endpoint is not connected",
	[ETIMEDOUT] = "Connection timed out",
	[ECONNREFUSED] = "Connection refused",
	[ESTALE] = "Stale file handle",
	[EDQUOT] = "Disk quota exceeded",
};

/* Where text goes, as much of it as there is room for, and how long all of it would be. */
struct output {
	char *bytes;
	size_t room;
	size_t wanted;
};

static void put(struct output *output, char byte)
{
	if (output->wanted < output->room)
		output->bytes[output->wanted] = byte;
	output->wanted++;
}

static void put_text(struct output *output, const char *text)
{
	while (*text != '\0')
		put(output, *text++);
}

static void put_number(struct output *output, unsigned long value, unsigned int base, int width)
{
	char digits[24];
	int count = 0;

	do
		digits[count++] = "0123456789abcdef"[value % base];
	while ((value /= base) > 0);
	for (int i = count; i < width; i++)
		put(output, '0');
	while (count > 0)
		put(output, digits[--count]);
}

/* %m */
static void put_error(struct output *output, int number)
{
	if (number > 0 && (size_t)number < sizeof(errors) / sizeof(*errors) && errors[number][0] != '\0') {
		put_text(output, errors[number]);
		return;
	}
	put_text(output, "Unknown error ");
	put_number(output, (unsigned int)number, 10, 0);
}

/* %s, %d, %u, %x, the latter two of any length, filled up with zeros to a width (%016lx), %m and %%. Others end the program. */
int vsnprintf(char *restrict text, size_t size, const char *restrict format, va_list args)
{
	struct output output = {.bytes = text, .room = size > 0 ? size - 1 : 0};
	int saved_errno = last_errno;

	for (; *format != '\0'; format++) {
		int width = 0;
		bool is_long = false;
		if (*format != '%') {
			put(&output, *format);
			continue;
		}
		for (format++; *format >= '0' && *format <= '9'; format++)
			width = width * 10 + (*format - '0');
		for (; *format == 'l'; format++)
			is_long = true;
		if (*format == 's')
			put_text(&output, va_arg(args, const char *));
		else if (*format == 'm')
			put_error(&output, saved_errno);
		else if (*format == '%')
			put(&output, '%');
		else if (*format == 'd' && !is_long) {
			int value = va_arg(args, int);
			if (value < 0)
				put(&output, '-');
			put_number(&output, value < 0 ? 0U - (unsigned int)value : (unsigned int)value, 10, width);
		} else if (*format == 'u' || *format == 'x')
			put_number(&output, is_long ? va_arg(args, unsigned long) : va_arg(args, unsigned int),
				   *format == 'x' ? 16 : 10, width);
		else
			__builtin_trap();
	}
	if (size > 0)
		text[output.wanted < output.room ? output.wanted : output.room] = '\0';
	return output.wanted > INT_MAX ? -1 : (int)output.wanted;
}

int snprintf(char *restrict text, size_t size, const char *restrict format, ...)
{
	va_list args;

	va_start(args, format);
	int wanted = vsnprintf(text, size, format, args);
	va_end(args);
	return wanted;
}

/* ---- what the compiler calls (-D_FORTIFY_SOURCE, -fstack-protector) ---------------------------------------------- */

_Noreturn void __stack_chk_fail(void);
void *__memcpy_chk(void *restrict target, const void *restrict source, size_t length, size_t room);
void *__memset_chk(void *target, int byte, size_t length, size_t room);
int __vsnprintf_chk(char *restrict text, size_t size, int flag, size_t room, const char *restrict format, va_list args);
int __snprintf_chk(char *restrict text, size_t size, int flag, size_t room, const char *restrict format, ...);
ssize_t __read_chk(int fd, void *bytes, size_t length, size_t room);
ssize_t __readlink_chk(const char *restrict path, char *restrict target, size_t size, size_t room);
ssize_t __recv_chk(int fd, void *bytes, size_t length, size_t room, int flags);
int __poll_chk(struct pollfd *set, nfds_t count, int timeout_ms, size_t room);
int __open_2(const char *path, int flags);
int __openat_2(int directory_fd, const char *path, int flags);

/* The stack is not to be trusted any longer: no words. */
_Noreturn void __stack_chk_fail(void)
{
	__builtin_trap();
}

static void check(size_t length, size_t room)
{
	if (length > room)
		__builtin_trap();
}

void *__memcpy_chk(void *restrict target, const void *restrict source, size_t length, size_t room)
{
	check(length, room);
	return memcpy(target, source, length);
}

void *__memset_chk(void *target, int byte, size_t length, size_t room)
{
	check(length, room);
	return memset(target, byte, length);
}

int __vsnprintf_chk(char *restrict text, size_t size, int flag, size_t room, const char *restrict format, va_list args)
{
	(void)flag;
	check(size, room);
	return vsnprintf(text, size, format, args);
}

int __snprintf_chk(char *restrict text, size_t size, int flag, size_t room, const char *restrict format, ...)
{
	va_list args;

	va_start(args, format);
	int wanted = __vsnprintf_chk(text, size, flag, room, format, args);
	va_end(args);
	return wanted;
}

ssize_t __read_chk(int fd, void *bytes, size_t length, size_t room)
{
	check(length, room);
	return read(fd, bytes, length);
}

ssize_t __readlink_chk(const char *restrict path, char *restrict target, size_t size, size_t room)
{
	check(size, room);
	return readlink(path, target, size);
}

ssize_t __recv_chk(int fd, void *bytes, size_t length, size_t room, int flags)
{
	check(length, room);
	return recv(fd, bytes, length, flags);
}

int __poll_chk(struct pollfd *set, nfds_t count, int timeout_ms, size_t room)
{
	check(count, room / sizeof(*set));
	return poll(set, count, timeout_ms);
}

int __open_2(const char *path, int flags)
{
	return open(path, flags);
}

int __openat_2(int directory_fd, const char *path, int flags)
{
	return openat(directory_fd, path, flags);
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define RELATIVE R_X86_64_RELATIVE
#else
#define RELATIVE R_AARCH64_RELATIVE
#endif
#define HIDDEN __attribute__((visibility("hidden")))

extern const Elf64_Ehdr __ehdr_start HIDDEN;
extern const Elf64_Dyn _DYNAMIC[] HIDDEN;

_Noreturn void start_program(uintptr_t *stack) HIDDEN;

/*
 * The program lies anywhere: puts that into the addresses that it holds, then makes them read-only. On x86-64 it is built
 * so that it holds none, and nothing is written.
 */
__attribute__((no_stack_protector)) static void relocate(uintptr_t page_bytes)
{
	uintptr_t base = (uintptr_t)&__ehdr_start;
	const Elf64_Phdr *header = (const Elf64_Phdr *)(base + __ehdr_start.e_phoff);
	const Elf64_Rela *each = NULL;
	size_t count = 0;

	for (const Elf64_Dyn *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++)
		if (entry->d_tag == DT_RELA)
			each = (const Elf64_Rela *)(base + entry->d_un.d_ptr);
		else if (entry->d_tag == DT_RELASZ)
			count = entry->d_un.d_val / sizeof(*each);
	if (count == 0)
		return;
	for (; count > 0; each++, count--) {
		if (ELF64_R_TYPE(each->r_info) != RELATIVE)
			__builtin_trap();
		*(uintptr_t *)(base + each->r_offset) = base + (uintptr_t)each->r_addend;
	}
	for (int i = 0; i < __ehdr_start.e_phnum; i++, header++) {
		uintptr_t from = (base + header->p_vaddr) & -page_bytes;
		uintptr_t end = (base + header->p_vaddr + header->p_memsz) & -page_bytes;
		if (header->p_type == PT_GNU_RELRO && end > from && CALL_3(SYS_mprotect, from, end - from, PROT_READ) != 0)
			__builtin_trap();
	}
}

/* `stack` is as the kernel leaves it: argc, argv, NULL, envp, NULL, pairs of the auxiliary vector. */
__attribute__((no_stack_protector)) _Noreturn void start_program(uintptr_t *stack)
{
	int argc = (int)stack[0];
	char **argv = (char **)(stack + 1), **envp = argv + argc + 1;
	uintptr_t *pair = (uintptr_t *)envp, guard = 0, page_bytes = 4096;

	while (*pair++ != 0)
		AS_IT_IS;
	for (; pair[0] != AT_NULL; pair += 2)
		if (pair[0] == AT_RANDOM)
			guard = *(const uintptr_t *)pair[1];
		else if (pair[0] == AT_PAGESZ)
			page_bytes = pair[1];
	relocate(page_bytes);
	__stack_chk_guard = guard & ~(uintptr_t)0xff; /* its NUL ends what overruns a text */
	environ = envp;
	_exit(main(argc, argv, envp));
}
