/*
 * The system calls that Node does not offer, as a Node-API addon. One function is one system call: numbers and buffers
 * in, the result or -errno out. No policy, no retry, no memory that outlives a call but for what keep() was given. The one
 * caller is src/native/sys.ts, which documents every function; it takes care of EINTR.
 *
 * What is called for each line of a container's is HOT: it lies together and has a short way in and out, since a CPU that has
 * been somewhere else meanwhile has to fetch all of it (docs/adr/0065-what-a-line-touches.md).
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <linux/openat2.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <node_api.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "system-call.h"
#include "watch.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

/* Linux 5.7; the kernel headers of Debian 12 have it, older ones do not. */
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

/* sched.h has them only beside functions that clash with nothing here but are not used. */
#define CLONE_VM_FLAG 0x100ULL
#define CLONE_VFORK_FLAG 0x4000ULL

/* STATX_MNT_ID_UNIQUE, Linux 6.8. */
#define UNIQUE_MOUNT_ID 0x4000U

/* linux/mempolicy.h: MPOL_F_MEMS_ALLOWED. */
#define MEMS_ALLOWED_FLAG 4UL

#define MAX_ARGS 14
#define MAX_HOT_ARGS 3
/* The kernel's own bound, SCM_MAX_FD. */
#define MAX_FDS_IN_MESSAGE 253
/* Fds that spawn places at numbers of their own. */
#define MAX_MAPPED_FDS 256
/* A wait without a limit: thirty years. */
#define FOR_EVER_SECONDS 1000000000L
/* Of one sendmmsg; its arrays are on the stack, 25 KiB. */
#define MAX_MESSAGES 128
#define MAX_PARTS 8
#define MAX_MESSAGE_PARTS 1024

#define HOT __attribute__((hot))
/* What HOT functions call of Node's, they call without a stub in between. */
#if defined(__has_attribute)
#if __has_attribute(noplt)
#define WITHOUT_STUB(function) __typeof__(function) function __attribute__((noplt))
WITHOUT_STUB(napi_get_cb_info);
WITHOUT_STUB(napi_get_value_double);
WITHOUT_STUB(napi_create_int32);
WITHOUT_STUB(napi_get_typedarray_info);
WITHOUT_STUB(clock_gettime);
#endif
#endif

/* What the functions of one thread share; each call brings it along. */
struct desk {
	/* Shared memory that reads and writes name without handing it in; NULL = none. */
	uint8_t *kept;
	size_t kept_length;
	napi_ref holder;
	/* Results beside the one that is returned, for JavaScript to read. */
	double *answers;
};

/* Places in a desk's answers (src/native/sys.ts). */
enum { SECONDS, NANOSECONDS, LASTED_MS, ANSWERS };

/* The arguments of one call. `bad` is set when one has the wrong type: the call then answers -EINVAL and does nothing. */
struct args {
	napi_env env;
	napi_value value[MAX_ARGS];
	size_t count;
	int bad;
};

static struct args get_args(napi_env env, napi_callback_info info)
{
	struct args a = {.env = env, .count = MAX_ARGS, .bad = 0};
	if (napi_get_cb_info(env, info, &a.count, a.value, NULL, NULL) != napi_ok)
		a.bad = 1;
	return a;
}

/* The first `count` arguments, at most MAX_HOT_ARGS, and the thread's desk. Whether they are there. */
static HOT int hot_args(napi_env env, napi_callback_info info, napi_value *value, size_t count, struct desk **desk)
{
	size_t given = count;
	void *data = NULL;
	if (napi_get_cb_info(env, info, &given, value, NULL, &data) != napi_ok || given < count)
		return 0;
	*desk = data;
	return 1;
}

/* The same, all of them numbers. */
static HOT int hot_numbers(napi_env env, napi_callback_info info, double *number, size_t count, struct desk **desk)
{
	napi_value value[MAX_HOT_ARGS];
	if (!hot_args(env, info, value, count, desk))
		return 0;
	for (size_t i = 0; i < count; i++)
		if (napi_get_value_double(env, value[i], &number[i]) != napi_ok)
			return 0;
	return 1;
}

static inline int is_int(double v)
{
	return v >= INT32_MIN && v <= INT32_MAX && v == (double)(int32_t)v;
}

/* Whether that many bytes are in the memory that is kept. NaN is nowhere. */
static inline int is_kept(const struct desk *desk, double offset, double length)
{
	return desk->kept != NULL && offset >= 0 && length >= 0 && offset + length <= (double)desk->kept_length;
}

static int32_t arg_int(struct args *a, size_t i)
{
	double v = 0;
	/* Not napi_get_value_int32: it makes 0 of NaN and wraps what is too large, and kill(0) or kill(-1) hit many. */
	if (i >= a->count || napi_get_value_double(a->env, a->value[i], &v) != napi_ok || !(v >= INT32_MIN && v <= INT32_MAX) ||
	    v != (double)(int32_t)v) {
		a->bad = 1;
		return 0;
	}
	return (int32_t)v;
}

/* An offset, a length or an fd of any size that fits; NaN does not. */
static double arg_size(struct args *a, size_t i)
{
	double v = 0;
	if (i >= a->count || napi_get_value_double(a->env, a->value[i], &v) != napi_ok || !(v >= 0 && v <= 9007199254740991.0)) {
		a->bad = 1;
		return 0;
	}
	return v;
}

static double arg_double(struct args *a, size_t i)
{
	double v = 0;
	if (i >= a->count || napi_get_value_double(a->env, a->value[i], &v) != napi_ok)
		a->bad = 1;
	return v;
}

/* The bytes behind a typed array; shared memory too. */
struct bytes {
	uint8_t *data;
	size_t length;
};

static struct bytes arg_bytes(struct args *a, size_t i)
{
	napi_typedarray_type type;
	size_t length = 0;
	void *data = NULL;
	struct bytes b = {NULL, 0};
	if (i >= a->count || napi_get_typedarray_info(a->env, a->value[i], &type, &length, &data, NULL, NULL) != napi_ok) {
		a->bad = 1;
		return b;
	}
	switch (type) {
	case napi_int8_array:
	case napi_uint8_array:
	case napi_uint8_clamped_array:
		break;
	case napi_int16_array:
	case napi_uint16_array:
		length *= 2;
		break;
	case napi_int32_array:
	case napi_uint32_array:
	case napi_float32_array:
		length *= 4;
		break;
	case napi_float64_array:
	case napi_bigint64_array:
	case napi_biguint64_array:
		length *= 8;
		break;
	default: /* newer than this addon: its elements are of unknown size */
		a->bad = 1;
		return b;
	}
	b.data = data;
	b.length = length;
	return b;
}

/* A path or name of at most PATH_MAX - 1 bytes, without NUL; a longer one makes the call answer -EINVAL. */
struct text {
	char data[PATH_MAX];
	size_t length;
};

static void arg_text(struct args *a, size_t i, struct text *t)
{
	size_t full = 0;
	t->length = 0;
	t->data[0] = '\0';
	if (i >= a->count || napi_get_value_string_utf8(a->env, a->value[i], NULL, 0, &full) != napi_ok || full >= sizeof(t->data) ||
	    napi_get_value_string_utf8(a->env, a->value[i], t->data, sizeof(t->data), &t->length) != napi_ok ||
	    strlen(t->data) != t->length)
		a->bad = 1;
}

static napi_value number(napi_env env, double v)
{
	napi_value result = NULL;
	napi_create_double(env, v, &result);
	return result;
}

static HOT napi_value small(napi_env env, int32_t v)
{
	napi_value result = NULL;
	napi_create_int32(env, v, &result);
	return result;
}

/* The end of every function: the call's result, or -errno. */
#define ANSWER(env, call) \
	do { \
		long answer_ = (long)(call); \
		return answer_ < 0 ? small(env, -errno) : (answer_ <= INT32_MAX ? small(env, (int32_t)answer_) : number(env, (double)answer_)); \
	} while (0)
#define REFUSE_IF(env, condition) \
	do { \
		if (condition) \
			return small(env, -EINVAL); \
	} while (0)

/* ---- files and descriptors ------------------------------------------------------------------------------------- */

/* read(fd, bytes, offset, length) */
static napi_value sys_read(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct bytes b = arg_bytes(&a, 1);
	double offset = arg_size(&a, 2), length = arg_size(&a, 3);
	REFUSE_IF(env, a.bad || offset + length > (double)b.length);
	ANSWER(env, read(fd, b.data + (size_t)offset, (size_t)length));
}

/* write(fd, bytes, offset, length) */
static napi_value sys_write(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct bytes b = arg_bytes(&a, 1);
	double offset = arg_size(&a, 2), length = arg_size(&a, 3);
	REFUSE_IF(env, a.bad || offset + length > (double)b.length);
	ANSWER(env, write(fd, b.data + (size_t)offset, (size_t)length));
}

/* keep(bytes): shared memory for readKept and writeKept, all of it, until it is another one; without any, none is kept */
static napi_value sys_keep(napi_env env, napi_callback_info info)
{
	size_t count = 1, length = 0;
	napi_value value[1], buffer = NULL;
	napi_typedarray_type type;
	void *data = NULL, *memory = NULL;
	bool movable = true;
	if (napi_get_cb_info(env, info, &count, value, NULL, &data) != napi_ok)
		return small(env, -EINVAL);
	struct desk *desk = data;
	if (desk->holder != NULL)
		(void)napi_delete_reference(env, desk->holder);
	desk->holder = NULL;
	desk->kept = NULL;
	if (count == 0)
		return small(env, 0);
	/* An ArrayBuffer may be moved to another thread, or resized, at any time. Shared memory stays where it is. */
	REFUSE_IF(env, napi_get_typedarray_info(env, value[0], &type, &length, &memory, &buffer, NULL) != napi_ok || type != napi_uint8_array ||
			       napi_is_arraybuffer(env, buffer, &movable) != napi_ok || movable ||
			       napi_create_reference(env, value[0], 1, &desk->holder) != napi_ok);
	desk->kept = memory;
	desk->kept_length = length;
	return small(env, 0);
}

/* readKept(fd, offset, length): read, into the memory that is kept */
static HOT napi_value sys_read_kept(napi_env env, napi_callback_info info)
{
	double n[3];
	struct desk *desk;
	REFUSE_IF(env, !hot_numbers(env, info, n, 3, &desk) || !is_int(n[0]) || !is_kept(desk, n[1], n[2]));
	return small(env, (int32_t)system_call(SYS_read, (int)n[0], (long)(desk->kept + (size_t)n[1]), (long)n[2], 0, 0, 0));
}

/* writeKept(fd, offset, length): write, from the memory that is kept */
static HOT napi_value sys_write_kept(napi_env env, napi_callback_info info)
{
	double n[3];
	struct desk *desk;
	REFUSE_IF(env, !hot_numbers(env, info, n, 3, &desk) || !is_int(n[0]) || !is_kept(desk, n[1], n[2]));
	return small(env, (int32_t)system_call(SYS_write, (int)n[0], (long)(desk->kept + (size_t)n[1]), (long)n[2], 0, 0, 0));
}

/* close(fd) */
static napi_value sys_close(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	REFUSE_IF(env, a.bad);
	ANSWER(env, close(fd));
}

/* dup3(fd, target, flags); unlike dup2 it refuses fd == target */
static napi_value sys_dup3(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), target = arg_int(&a, 1), flags = arg_int(&a, 2);
	REFUSE_IF(env, a.bad);
	ANSWER(env, dup3(fd, target, flags));
}

/* pipe2(fds: Int32Array(2), flags) */
static napi_value sys_pipe2(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct bytes fds = arg_bytes(&a, 0);
	int flags = arg_int(&a, 1);
	REFUSE_IF(env, a.bad || fds.length < 2 * sizeof(int));
	ANSWER(env, pipe2((int *)(void *)fds.data, flags));
}

/* fcntl(fd, command, argument) */
static napi_value sys_fcntl(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), command = arg_int(&a, 1), argument = arg_int(&a, 2);
	REFUSE_IF(env, a.bad);
	ANSWER(env, fcntl(fd, command, argument));
}

/* closeRange(first, last, flags); last may be 4294967295 */
static napi_value sys_close_range(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	double first = arg_size(&a, 0), last = arg_size(&a, 1);
	int flags = arg_int(&a, 2);
	REFUSE_IF(env, a.bad || last < first || last > (double)UINT32_MAX);
	ANSWER(env, syscall(SYS_close_range, (unsigned)first, (unsigned)last, (unsigned)flags));
}

/* fionread(fd): ioctl FIONREAD, bytes waiting in a pipe, socket or tty */
static napi_value sys_fionread(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), waiting = 0;
	REFUSE_IF(env, a.bad);
	ANSWER(env, ioctl(fd, FIONREAD, &waiting) < 0 ? -1 : waiting);
}

/* mkfifo(path, mode) */
static napi_value sys_mkfifo(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct text path;
	arg_text(&a, 0, &path);
	int mode = arg_int(&a, 1);
	REFUSE_IF(env, a.bad);
	ANSWER(env, mkfifo(path.data, (mode_t)mode));
}

/* memfdCreate(name, flags) */
static napi_value sys_memfd_create(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct text name;
	arg_text(&a, 0, &name);
	int flags = arg_int(&a, 1);
	REFUSE_IF(env, a.bad);
	ANSWER(env, memfd_create(name.data, (unsigned)flags));
}

/* madvise(bytes, advice): all of `bytes`, which begins at a page */
static napi_value sys_madvise(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct bytes bytes = arg_bytes(&a, 0);
	int advice = arg_int(&a, 1);
	REFUSE_IF(env, a.bad || bytes.length == 0);
	ANSWER(env, madvise(bytes.data, bytes.length, advice));
}

/* openat(dirFd, path, flags, mode) */
static napi_value sys_openat(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int directory = arg_int(&a, 0);
	struct text path;
	arg_text(&a, 1, &path);
	int flags = arg_int(&a, 2), mode = arg_int(&a, 3);
	REFUSE_IF(env, a.bad);
	ANSWER(env, openat(directory, path.data, flags, (mode_t)mode));
}

/* openat2(dirFd, path, flags, mode, resolve) */
static napi_value sys_openat2(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int directory = arg_int(&a, 0);
	struct text path;
	arg_text(&a, 1, &path);
	int flags = arg_int(&a, 2), mode = arg_int(&a, 3), resolve = arg_int(&a, 4);
	REFUSE_IF(env, a.bad || flags < 0 || mode < 0 || resolve < 0);
	struct open_how how = {.flags = (uint64_t)flags, .mode = (uint64_t)mode, .resolve = (uint64_t)resolve};
	ANSWER(env, syscall(SYS_openat2, directory, path.data, &how, sizeof(how)));
}

/* renameat2(fromDirFd, from, toDirFd, to, flags) */
static napi_value sys_renameat2(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int from_directory = arg_int(&a, 0), to_directory = arg_int(&a, 2), flags = arg_int(&a, 4);
	struct text from, to;
	arg_text(&a, 1, &from);
	arg_text(&a, 3, &to);
	REFUSE_IF(env, a.bad || flags < 0);
	ANSWER(env, syscall(SYS_renameat2, from_directory, from.data, to_directory, to.data, (unsigned)flags));
}

/* unlinkat(dirFd, path, flags) */
static napi_value sys_unlinkat(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int directory = arg_int(&a, 0);
	struct text path;
	arg_text(&a, 1, &path);
	int flags = arg_int(&a, 2);
	REFUSE_IF(env, a.bad);
	ANSWER(env, unlinkat(directory, path.data, flags));
}

/* fstatat(dirFd, path, flags, out: BigInt64Array(5) of {device, inode, mode, links, size}) */
static napi_value sys_fstatat(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int directory = arg_int(&a, 0);
	struct text path;
	arg_text(&a, 1, &path);
	int flags = arg_int(&a, 2);
	struct bytes out = arg_bytes(&a, 3);
	struct stat found;
	REFUSE_IF(env, a.bad || out.length < 5 * sizeof(int64_t));
	int result = fstatat(directory, path.data, &found, flags);
	if (result == 0) {
		int64_t *fields = (int64_t *)(void *)out.data;
		fields[0] = (int64_t)found.st_dev;
		fields[1] = (int64_t)found.st_ino;
		fields[2] = (int64_t)found.st_mode;
		fields[3] = (int64_t)found.st_nlink;
		fields[4] = (int64_t)found.st_size;
	}
	ANSWER(env, result);
}

/* fstatfs(fd): f_type */
static napi_value sys_fstatfs(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct statfs found = {0};
	REFUSE_IF(env, a.bad);
	ANSWER(env, fstatfs(fd, &found) < 0 ? -1 : (long)found.f_type);
}

/* fallocate(fd, mode, offset, length) */
static napi_value sys_fallocate(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	int mode = arg_int(&a, 1);
	off_t offset = (off_t)arg_size(&a, 2);
	off_t length = (off_t)arg_size(&a, 3);
	REFUSE_IF(env, a.bad);
	ANSWER(env, fallocate(fd, mode, offset, length));
}

/* mountId(fd): statx STATX_MNT_ID_UNIQUE: a number that no other mount gets as long as the machine runs; asks no server */
static napi_value sys_mount_id(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	/* linux/stat.h: mask first, the mount's id at byte 144 of 256; older headers do not name it. */
	union {
		uint32_t mask;
		uint64_t words[32];
	} found;
	REFUSE_IF(env, a.bad);
	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, UNIQUE_MOUNT_ID, &found) < 0)
		return small(env, -errno);
	if ((found.mask & UNIQUE_MOUNT_ID) == 0)
		return small(env, -EOPNOTSUPP);
	return number(env, (double)found.words[18]);
}

/* readlinkat(dirFd, path, out): the link's text, cut when it does not fit; answers its length */
static napi_value sys_readlinkat(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int directory = arg_int(&a, 0);
	struct text path;
	arg_text(&a, 1, &path);
	struct bytes out = arg_bytes(&a, 2);
	REFUSE_IF(env, a.bad || out.length == 0);
	ANSWER(env, readlinkat(directory, path.data, (char *)out.data, out.length));
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

/*
 * poll(pollfds: Int32Array of {fd, events | revents << 16}, count, timeoutMs, which may have a fraction; below 0 = for ever): ppoll.
 * How long it has waited, ms, is in the answers: what the kernel leaves of the timeout tells it, without a clock.
 */
static HOT napi_value sys_poll(napi_env env, napi_callback_info info)
{
	napi_value value[3];
	struct desk *desk;
	napi_typedarray_type type;
	size_t length = 0;
	void *set = NULL;
	double count = -1, timeout = 0;
	/* Not above what poll(2) takes; NaN neither. */
	REFUSE_IF(env, !hot_args(env, info, value, 3, &desk) ||
			       napi_get_typedarray_info(env, value[0], &type, &length, &set, NULL, NULL) != napi_ok || type != napi_int32_array ||
			       napi_get_value_double(env, value[1], &count) != napi_ok ||
			       napi_get_value_double(env, value[2], &timeout) != napi_ok || !is_int(count) || count < 0 ||
			       (size_t)count > length * sizeof(int32_t) / sizeof(struct pollfd) || !(timeout <= INT32_MAX));
	struct timespec limit = {FOR_EVER_SECONDS, 0};
	if (timeout >= 0) {
		limit.tv_sec = (time_t)(timeout / 1000);
		limit.tv_nsec = (long)((timeout - (double)limit.tv_sec * 1000) * 1000000);
	}
	struct timespec left = limit;
	/* Not libc's, which keeps to itself what is left. */
	long result = system_call(SYS_ppoll, (long)set, (long)count, (long)&left, 0, 0, 0);
	desk->answers[LASTED_MS] = (double)(limit.tv_sec - left.tv_sec) * 1e3 + (double)(limit.tv_nsec - left.tv_nsec) / 1e6;
	return small(env, (int32_t)result);
}

/* eventfd(initial, flags) */
static napi_value sys_eventfd(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int initial = arg_int(&a, 0), flags = arg_int(&a, 1);
	REFUSE_IF(env, a.bad || initial < 0);
	ANSWER(env, eventfd((unsigned)initial, flags));
}

/* inotifyInit(flags) */
static napi_value sys_inotify_init(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int flags = arg_int(&a, 0);
	REFUSE_IF(env, a.bad);
	ANSWER(env, inotify_init1(flags));
}

/* inotifyAddWatch(fd, path, mask) */
static napi_value sys_inotify_add_watch(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct text path;
	arg_text(&a, 1, &path);
	int mask = arg_int(&a, 2);
	REFUSE_IF(env, a.bad);
	ANSWER(env, inotify_add_watch(fd, path.data, (uint32_t)mask));
}

/* clockGettime(clock): the seconds and nanoseconds are in the answers */
static HOT napi_value sys_clock_gettime(napi_env env, napi_callback_info info)
{
	double clock[1];
	struct desk *desk;
	struct timespec now = {0, 0};
	REFUSE_IF(env, !hot_numbers(env, info, clock, 1, &desk) || !is_int(clock[0]));
	int result = clock_gettime((clockid_t)clock[0], &now);
	desk->answers[SECONDS] = (double)now.tv_sec;
	desk->answers[NANOSECONDS] = (double)now.tv_nsec;
	ANSWER(env, result);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/* mallocTrim(): what malloc holds free, to the kernel; 1 if there was any */
static napi_value sys_malloc_trim(napi_env env, napi_callback_info info)
{
	napi_value result;
	(void)info;
	napi_create_int32(env, malloc_trim(0), &result);
	return result;
}

/*
 * v8::Isolate::TryGetCurrent and MemoryPressureNotification and v8::V8::SetFlagsFromString, of V8's public interface and exported by
 * Node, but not offered by Node-API. Weak: another Node would load this addon without them. enum class MemoryPressureLevel is an int.
 */
extern void *current_isolate(void) __asm__("_ZN2v87Isolate13TryGetCurrentEv") __attribute__((weak));
extern void memory_pressure(void *isolate, int level)
	__asm__("_ZN2v87Isolate26MemoryPressureNotificationENS_19MemoryPressureLevelE") __attribute__((weak));

extern void set_v8_flags(const char *flags) __asm__("_ZN2v82V818SetFlagsFromStringEPKc") __attribute__((weak));

/* setV8Flags(flags): v8::V8::SetFlagsFromString, for all threads at once; -ENOSYS with a Node that does not export it */
static napi_value sys_set_v8_flags(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct text flags;
	napi_value result;
	arg_text(&a, 0, &flags);
	REFUSE_IF(env, a.bad);
	if (set_v8_flags != NULL)
		set_v8_flags(flags.data);
	napi_create_int32(env, set_v8_flags != NULL ? 0 : -ENOSYS, &result);
	return result;
}

/* memoryPressure(level): tells V8 how short of memory the system is; -ENOSYS with a Node that does not export it */
static napi_value sys_memory_pressure(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int level = arg_int(&a, 0);
	napi_value result;
	REFUSE_IF(env, a.bad || level < 0 || level > 2);
	int exported = current_isolate != NULL && memory_pressure != NULL;
	if (exported)
		memory_pressure(current_isolate(), level);
	napi_create_int32(env, exported ? 0 : -ENOSYS, &result);
	return result;
}

/* ---- processes ------------------------------------------------------------------------------------------------- */

/* prctl(operation, argument) for the operations whose argument is a number */
static napi_value sys_prctl(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int operation = arg_int(&a, 0), argument = arg_int(&a, 1);
	REFUSE_IF(env, a.bad);
	ANSWER(env, prctl(operation, (unsigned long)argument, 0UL, 0UL, 0UL));
}

/* prctlSetName(name): PR_SET_NAME, at most 15 bytes count */
static napi_value sys_prctl_set_name(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct text name;
	arg_text(&a, 0, &name);
	REFUSE_IF(env, a.bad);
	ANSWER(env, prctl(PR_SET_NAME, (unsigned long)name.data, 0UL, 0UL, 0UL));
}

/* waitpid(pid, options, status: Int32Array(1)) */
static napi_value sys_waitpid(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int pid = arg_int(&a, 0), options = arg_int(&a, 1);
	struct bytes status = arg_bytes(&a, 2);
	REFUSE_IF(env, a.bad || status.length < sizeof(int));
	ANSWER(env, waitpid(pid, (int *)(void *)status.data, options));
}

/* kill(pid, signal) */
static napi_value sys_kill(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int pid = arg_int(&a, 0), signal_number = arg_int(&a, 1);
	REFUSE_IF(env, a.bad);
	ANSWER(env, kill(pid, signal_number));
}

/* getpgid(pid) */
static napi_value sys_getpgid(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int pid = arg_int(&a, 0);
	REFUSE_IF(env, a.bad);
	ANSWER(env, getpgid(pid));
}

/* schedSetscheduler(tid, policy): a policy without a priority */
static napi_value sys_sched_setscheduler(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int tid = arg_int(&a, 0);
	int policy = arg_int(&a, 1);
	struct sched_param parameters = {.sched_priority = 0};
	REFUSE_IF(env, a.bad);
	ANSWER(env, sched_setscheduler(tid, policy, &parameters));
}

/* getpriority(pid): answers 20 - nice, as the kernel's call does and libc's does not */
static napi_value sys_getpriority(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int pid = arg_int(&a, 0);
	REFUSE_IF(env, a.bad);
	ANSWER(env, syscall(SYS_getpriority, PRIO_PROCESS, pid));
}

/* schedGetscheduler(tid): the policy */
static napi_value sys_sched_getscheduler(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int tid = arg_int(&a, 0);
	REFUSE_IF(env, a.bad);
	ANSWER(env, sched_getscheduler(tid));
}

/* schedGetaffinity(tid, out): a bit a CPU; answers how many bytes the kernel's mask has. libc's call answers 0 */
static napi_value sys_sched_getaffinity(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int tid = arg_int(&a, 0);
	struct bytes out = arg_bytes(&a, 1);
	REFUSE_IF(env, a.bad || out.length % sizeof(long) != 0);
	ANSWER(env, syscall(SYS_sched_getaffinity, tid, out.length, out.data));
}

/* memsAllowed(out): get_mempolicy, MPOL_F_MEMS_ALLOWED: this thread's nodes of memory, a bit each */
static napi_value sys_mems_allowed(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct bytes out = arg_bytes(&a, 0);
	REFUSE_IF(env, a.bad || out.length == 0 || out.length % sizeof(long) != 0);
	ANSWER(env, syscall(SYS_get_mempolicy, NULL, out.data, out.length * 8, NULL, MEMS_ALLOWED_FLAG));
}

/* exitNow(status): _exit; no thread is joined, so that none that waits in a call of its own can hold the process back */
static napi_value sys_exit_now(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int status = arg_int(&a, 0);
	REFUSE_IF(env, a.bad);
	_exit(status);
}

/* Pointers to the NUL-terminated strings of a block, then NULL. The caller frees; NULL when memory is short. */
static char **pointers_into(struct bytes block)
{
	size_t count = 0;
	for (size_t i = 0; i < block.length; i++)
		count += block.data[i] == '\0';
	char **list = calloc(count + 1, sizeof(char *));
	if (list == NULL)
		return NULL;
	char *next = (char *)block.data;
	for (size_t i = 0; i < count; i++) {
		list[i] = next;
		next += strlen(next) + 1;
	}
	return list;
}

struct child {
	const char *path;
	char **argv;
	char **envp;
	const int32_t *map;
	size_t map_count;
	const int32_t *keep;
	size_t keep_count;
	int death_signal;
	char *listen_pid;
	const char *oom_score;
	size_t oom_score_length;
	struct rlimit nofile;
	int cwd;
	int new_session;
	int cgroup;
	volatile int error;
};

/* What runs between vfork and exec shares the parent's stack: a sanitizer's notes about it would be left to the parent. */
#define IN_CHILD __attribute__((no_sanitize_address))

/* Decimal digits of a positive number and a NUL; async-signal-safe. `out` holds at least 12 bytes. */
IN_CHILD static void decimal(int value, char *out)
{
	char digits[12];
	int n = 0;
	do
		digits[n++] = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	for (int i = 0; i < n; i++)
		out[i] = digits[n - 1 - i];
	out[n] = '\0';
}

/* Everything between two kept descriptors, and above the last, is closed by the exec. Without close_range (before
 * Linux 5.11) the O_CLOEXEC that everything of ours is opened with has to do. */
IN_CHILD static void close_the_gaps(const struct child *c)
{
	unsigned from = 3;
	for (size_t i = 0; i < c->keep_count; i++) {
		unsigned fd = (unsigned)c->keep[i];
		if (fd > from)
			(void)syscall(SYS_close_range, from, fd - 1, CLOSE_RANGE_CLOEXEC);
		from = fd + 1;
	}
	(void)syscall(SYS_close_range, from, UINT_MAX, CLOSE_RANGE_CLOEXEC);
}

/* A source that lies where another fd is to go is moved out of the way first, so that the map's order does not matter. */
IN_CHILD static int place_fds(const struct child *c)
{
	int sources[MAX_MAPPED_FDS], top = STDERR_FILENO;

	for (size_t i = 0; i < c->map_count; i++)
		if (c->map[2 * i] > top)
			top = c->map[2 * i];
	for (size_t i = 0; i < c->map_count; i++) {
		sources[i] = c->map[2 * i + 1];
		if (sources[i] <= top && sources[i] != c->map[2 * i] &&
		    (sources[i] = fcntl(sources[i], F_DUPFD_CLOEXEC, top + 1)) < 0)
			return -1;
	}
	for (size_t i = 0; i < c->map_count; i++) {
		int target = c->map[2 * i];
		if (target == sources[i] ? fcntl(target, F_SETFD, 0) < 0 : dup2(sources[i], target) < 0)
			return -1;
	}
	return 0;
}

/* Runs in the child of vfork, on the parent's memory: async-signal-safe calls only, no return. */
IN_CHILD static __attribute__((noreturn)) void run_child(struct child *c)
{
	/* The kernel's call, not libc's, which refuses its own two (32 and 33): a caller may have left those ignored too. */
	static const unsigned long standard[8];
	for (int s = 1; s <= SIGRTMAX; s++)
		(void)syscall(SYS_rt_sigaction, s, standard, NULL, _NSIG / 8); /* SIGKILL and SIGSTOP refuse: as they should */
	if (c->death_signal != 0 && prctl(PR_SET_PDEATHSIG, (unsigned long)c->death_signal, 0UL, 0UL, 0UL) < 0)
		goto fail;
	if (c->new_session && setsid() < 0)
		goto fail;
	if (place_fds(c) < 0)
		goto fail;
	close_the_gaps(c);
	for (size_t i = 0; i < c->keep_count; i++)
		(void)fcntl(c->keep[i], F_SETFD, 0); /* closed by the caller meanwhile: nothing to keep */
	if (c->cwd >= 0 && fchdir(c->cwd) < 0)
		goto fail;
	if (c->listen_pid != NULL)
		decimal((int)getpid(), c->listen_pid);
	if (c->oom_score_length > 0) {
		int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			ssize_t written = write(fd, c->oom_score, c->oom_score_length); /* best effort: contract section 1 */
			(void)written;
			(void)close(fd);
		}
	}
	if (c->nofile.rlim_max > 0 && setrlimit(RLIMIT_NOFILE, &c->nofile) < 0)
		goto fail;
	sigset_t none;
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	execve(c->path, c->argv, c->envp);
fail:
	c->error = errno;
	_exit(127);
}

/*
 * vfork into a cgroup of version 2. The system call is made right here: libc has no wrapper, and its syscall() would
 * return into a stack that the child has used meanwhile.
 */
IN_CHILD static inline __attribute__((always_inline)) long vfork_into(int cgroup)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
	} how = {.flags = CLONE_VM_FLAG | CLONE_VFORK_FLAG | CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup};
#if defined(__x86_64__)
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"((long)SYS_clone3), "D"(&how), "S"(sizeof(how)) : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long number __asm__("x8") = SYS_clone3;
	register long first __asm__("x0") = (long)&how;
	register long second __asm__("x1") = (long)sizeof(how);
	__asm__ volatile("svc 0" : "+r"(first) : "r"(number), "r"(second) : "memory");
	return first;
#else
	(void)how;
	return -ENOSYS;
#endif
}

IN_CHILD static __attribute__((noinline)) pid_t vfork_and_run(struct child *c)
{
	pid_t pid;
	if (c->cgroup >= 0) {
		long result = vfork_into(c->cgroup);
		if (result == 0)
			run_child(c);
		if (result < 0)
			errno = (int)-result;
		return result < 0 ? -1 : (pid_t)result;
	}
	pid = vfork();
	if (pid == 0)
		run_child(c);
	return pid;
}

/*
 * spawn(path, argv, envp, fdMap, keepFds, deathSignal, listenPidOffset, oomScoreAdj, nofileSoft, nofileHard, cwdFd,
 * newSession, cgroupFd)
 * argv, envp: NUL-terminated strings one after the other; fdMap: Int32Array of {child fd, our fd}; keepFds: Int32Array,
 * ascending; cgroupFd: a directory of cgroup v2, or -1. A failed execve answers -errno and leaves no zombie.
 */
static napi_value sys_spawn(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct text path, oom_score;
	arg_text(&a, 0, &path);
	struct bytes argv = arg_bytes(&a, 1), envp = arg_bytes(&a, 2), map = arg_bytes(&a, 3), keep = arg_bytes(&a, 4);
	int death_signal = arg_int(&a, 5), listen_pid_offset = arg_int(&a, 6);
	arg_text(&a, 7, &oom_score);
	double nofile_soft = arg_double(&a, 8), nofile_hard = arg_double(&a, 9);
	int cwd = arg_int(&a, 10), new_session = arg_int(&a, 11), cgroup = arg_int(&a, 12);
	REFUSE_IF(env, map.length / 8 > MAX_MAPPED_FDS);
	REFUSE_IF(env, a.bad || argv.length == 0 || argv.data[argv.length - 1] != '\0' || map.length % 8 != 0 || keep.length % 4 != 0);
	REFUSE_IF(env, envp.length > 0 && envp.data[envp.length - 1] != '\0');
	REFUSE_IF(env, listen_pid_offset >= 0 && (size_t)listen_pid_offset + 12 > envp.length);

	struct child c = {
		.path = path.data,
		.argv = pointers_into(argv),
		.envp = pointers_into(envp),
		.map = (const int32_t *)(const void *)map.data,
		.map_count = map.length / 8,
		.keep = (const int32_t *)(const void *)keep.data,
		.keep_count = keep.length / 4,
		.death_signal = death_signal,
		.listen_pid = listen_pid_offset < 0 ? NULL : (char *)envp.data + listen_pid_offset,
		.oom_score = oom_score.data,
		.oom_score_length = oom_score.length,
		.nofile = {.rlim_cur = nofile_soft < 0 ? RLIM_INFINITY : (rlim_t)nofile_soft,
			   .rlim_max = nofile_hard < 0 ? RLIM_INFINITY : (rlim_t)nofile_hard},
		.cwd = cwd,
		.new_session = new_session,
		.cgroup = cgroup,
		.error = 0,
	};
	if (c.argv == NULL || c.envp == NULL) {
		free(c.argv);
		free(c.envp);
		return small(env, -ENOMEM);
	}
	/* No handler of ours may run in the child while it shares our memory. */
	sigset_t all, old;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	pid_t pid = vfork_and_run(&c);
	int fork_error = errno;
	if (pid > 0 && c.error != 0)
		(void)waitpid(pid, NULL, 0);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	free(c.argv);
	free(c.envp);
	if (pid < 0)
		return small(env, -fork_error);
	return small(env, c.error != 0 ? -c.error : (int32_t)pid);
}

/* ---- sockets --------------------------------------------------------------------------------------------------- */

/* socket(type): AF_UNIX */
static napi_value sys_socket(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int type = arg_int(&a, 0);
	REFUSE_IF(env, a.bad);
	ANSWER(env, socket(AF_UNIX, type, 0));
}

/* socketpair(type, fds: Int32Array(2)): AF_UNIX */
static napi_value sys_socketpair(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int type = arg_int(&a, 0);
	struct bytes fds = arg_bytes(&a, 1);
	REFUSE_IF(env, a.bad || fds.length < 2 * sizeof(int));
	ANSWER(env, socketpair(AF_UNIX, type, 0, (int *)(void *)fds.data));
}

/* A path that fits sun_path with its NUL; never an abstract address. */
static int to_address(const struct text *path, struct sockaddr_un *address)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (path->length == 0 || path->length >= sizeof(address->sun_path))
		return -1;
	memcpy(address->sun_path, path->data, path->length);
	return 0;
}

/* bind(fd, path) */
static napi_value sys_bind(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct text path;
	struct sockaddr_un address;
	arg_text(&a, 1, &path);
	REFUSE_IF(env, a.bad);
	if (to_address(&path, &address) < 0)
		return small(env, -ENAMETOOLONG);
	ANSWER(env, bind(fd, (struct sockaddr *)&address, sizeof(address)));
}

/* connect(fd, path) */
static napi_value sys_connect(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct text path;
	struct sockaddr_un address;
	arg_text(&a, 1, &path);
	REFUSE_IF(env, a.bad);
	if (to_address(&path, &address) < 0)
		return small(env, -ENAMETOOLONG);
	ANSWER(env, connect(fd, (struct sockaddr *)&address, sizeof(address)));
}

/* listen(fd, backlog) */
static napi_value sys_listen(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), backlog = arg_int(&a, 1);
	REFUSE_IF(env, a.bad);
	ANSWER(env, listen(fd, backlog));
}

/* accept4(fd, flags) */
static napi_value sys_accept4(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), flags = arg_int(&a, 1);
	REFUSE_IF(env, a.bad);
	ANSWER(env, accept4(fd, NULL, NULL, flags));
}

/* getsockopt(fd, name, out: Int32Array): SOL_SOCKET; answers how many bytes were given */
static napi_value sys_getsockopt(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), name = arg_int(&a, 1);
	struct bytes out = arg_bytes(&a, 2);
	socklen_t length = (socklen_t)out.length;
	REFUSE_IF(env, a.bad || out.length > INT32_MAX);
	ANSWER(env, getsockopt(fd, SOL_SOCKET, name, out.data, &length) < 0 ? -1 : (long)length);
}

/* setSendTimeout(fd, milliseconds): SO_SNDTIMEO, how long a send may wait; 0 = for ever */
static napi_value sys_set_send_timeout(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), milliseconds = arg_int(&a, 1);
	REFUSE_IF(env, a.bad || milliseconds < 0);
	struct timeval limit = {.tv_sec = milliseconds / 1000, .tv_usec = (milliseconds % 1000) * 1000};
	ANSWER(env, setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)));
}

/* setSendBuffer(fd, bytes): SO_SNDBUF; the kernel doubles it, and cuts it at net.core.wmem_max before that */
static napi_value sys_set_send_buffer(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), bytes = arg_int(&a, 1);
	REFUSE_IF(env, a.bad || bytes < 0);
	ANSWER(env, setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)));
}

/* shutdown(fd, how) */
static napi_value sys_shutdown(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), how = arg_int(&a, 1);
	REFUSE_IF(env, a.bad);
	ANSWER(env, shutdown(fd, how));
}

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(MAX_FDS_IN_MESSAGE * sizeof(int))];
};

/* sendmsg(fd, bytes, offset, length, fds: Int32Array, flags) */
static napi_value sys_sendmsg(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct bytes b = arg_bytes(&a, 1);
	double offset = arg_size(&a, 2), length = arg_size(&a, 3);
	struct bytes fds = arg_bytes(&a, 4);
	int flags = arg_int(&a, 5);
	REFUSE_IF(env, a.bad || offset + length > (double)b.length);
	REFUSE_IF(env, fds.length > MAX_FDS_IN_MESSAGE * sizeof(int) || fds.length % sizeof(int) != 0);
	struct iovec part = {.iov_base = b.data + (size_t)offset, .iov_len = (size_t)length};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	union control control;
	if (fds.length > 0) {
		memset(&control, 0, sizeof(control));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(fds.length);
		memcpy(CMSG_DATA(&control.header), fds.data, fds.length);
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(fds.length);
	}
	ANSWER(env, sendmsg(fd, &message, flags));
}

/* sendmmsg(fd, bytes, parts: Uint32Array of {offset, length}, partsPerMessage, messages, flags): each message is that many
 * parts of `bytes`, one after the other; answers how many messages were sent */
static napi_value sys_sendmmsg(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct bytes b = arg_bytes(&a, 1), table = arg_bytes(&a, 2);
	int per_message = arg_int(&a, 3), count = arg_int(&a, 4), flags = arg_int(&a, 5);
	REFUSE_IF(env, a.bad || per_message < 1 || per_message > MAX_PARTS || count < 1 || count > MAX_MESSAGES);
	size_t part_count = (size_t)per_message * (size_t)count;
	REFUSE_IF(env, part_count > MAX_MESSAGE_PARTS || table.length < part_count * 2 * sizeof(uint32_t));
	struct iovec parts[MAX_MESSAGE_PARTS];
	struct mmsghdr messages[MAX_MESSAGES];
	for (size_t i = 0; i < part_count; i++) {
		uint32_t pair[2];
		memcpy(pair, table.data + i * sizeof(pair), sizeof(pair));
		REFUSE_IF(env, (uint64_t)pair[0] + pair[1] > b.length);
		parts[i] = (struct iovec){.iov_base = b.data + pair[0], .iov_len = pair[1]};
	}
	memset(messages, 0, sizeof(messages[0]) * (size_t)count);
	for (size_t i = 0; i < (size_t)count; i++) {
		messages[i].msg_hdr.msg_iov = &parts[i * (size_t)per_message];
		messages[i].msg_hdr.msg_iovlen = (size_t)per_message;
	}
	ANSWER(env, sendmmsg(fd, messages, (unsigned)count, flags));
}

/* The packets of a record: each is the byte at `type` and at most `packet_bytes` of the `length` bytes at `offset`, two
 * parts a packet. How many they are, or -1 when that is not possible. */
static int to_packets(const struct bytes *b, double type, double offset, double length, int packet_bytes,
		      struct iovec parts[2 * MAX_MESSAGES])
{
	if (type >= (double)b->length || length < 1 || offset + length > (double)b->length || packet_bytes < 1)
		return -1;
	if (length > (double)packet_bytes * MAX_MESSAGES)
		return -1;
	uint8_t *at = b->data + (size_t)offset;
	size_t left = (size_t)length, most = (size_t)packet_bytes;
	int count = 0;
	for (; left > 0; count++) {
		size_t some = left < most ? left : most;
		parts[2 * count] = (struct iovec){.iov_base = b->data + (size_t)type, .iov_len = 1};
		parts[2 * count + 1] = (struct iovec){.iov_base = at, .iov_len = some};
		at += some;
		left -= some;
	}
	return count;
}

/* sendPackets(fd, bytes, typeOffset, offset, length, packetBytes, flags): sendmmsg of a record's packets; answers how many
 * were sent */
static napi_value sys_send_packets(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct bytes b = arg_bytes(&a, 1);
	double type = arg_size(&a, 2), offset = arg_size(&a, 3), length = arg_size(&a, 4);
	int packet_bytes = arg_int(&a, 5), flags = arg_int(&a, 6);
	REFUSE_IF(env, a.bad);
	struct iovec parts[2 * MAX_MESSAGES];
	int count = to_packets(&b, type, offset, length, packet_bytes, parts);
	REFUSE_IF(env, count < 0);
	struct mmsghdr messages[MAX_MESSAGES];
	memset(messages, 0, sizeof(messages[0]) * (size_t)count);
	for (int i = 0; i < count; i++) {
		messages[i].msg_hdr.msg_iov = &parts[2 * i];
		messages[i].msg_hdr.msg_iovlen = 2;
	}
	ANSWER(env, sendmmsg(fd, messages, (unsigned)count, flags));
}

static aio_context_t to_context(const struct bytes *b)
{
	aio_context_t context;
	memcpy(&context, b->data, sizeof(context));
	return context;
}

/* ioSetup(events, context: Uint8Array(8)): io_setup; the context's number is put there */
static napi_value sys_io_setup(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int events = arg_int(&a, 0);
	struct bytes b = arg_bytes(&a, 1);
	REFUSE_IF(env, a.bad || events < 0 || b.length != sizeof(aio_context_t));
	aio_context_t context = 0;
	long result = syscall(SYS_io_setup, (unsigned)events, &context);
	if (result == 0)
		memcpy(b.data, &context, sizeof(context));
	ANSWER(env, result);
}

/* ioDestroy(context) */
static napi_value sys_io_destroy(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct bytes b = arg_bytes(&a, 0);
	REFUSE_IF(env, a.bad || b.length != sizeof(aio_context_t));
	ANSWER(env, syscall(SYS_io_destroy, to_context(&b)));
}

/* ioSubmitPackets(context, fd, bytes, typeOffset, offset, length, packetBytes): io_submit of a record's packets, one write
 * each, numbered from 0; answers how many were taken. On a socket that does not block they are done when it returns. */
static napi_value sys_io_submit_packets(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct bytes context = arg_bytes(&a, 0);
	int fd = arg_int(&a, 1);
	struct bytes b = arg_bytes(&a, 2);
	double type = arg_size(&a, 3), offset = arg_size(&a, 4), length = arg_size(&a, 5);
	int packet_bytes = arg_int(&a, 6);
	REFUSE_IF(env, a.bad || fd < 0 || context.length != sizeof(aio_context_t));
	struct iovec parts[2 * MAX_MESSAGES];
	int count = to_packets(&b, type, offset, length, packet_bytes, parts);
	REFUSE_IF(env, count < 0);
	struct iocb blocks[MAX_MESSAGES], *list[MAX_MESSAGES];
	memset(blocks, 0, sizeof(blocks[0]) * (size_t)count);
	for (int i = 0; i < count; i++) {
		blocks[i].aio_data = (uint64_t)i;
		blocks[i].aio_lio_opcode = IOCB_CMD_PWRITEV;
		blocks[i].aio_fildes = (uint32_t)fd;
		blocks[i].aio_buf = (uint64_t)(uintptr_t)&parts[2 * i];
		blocks[i].aio_nbytes = 2;
		list[i] = &blocks[i];
	}
	ANSWER(env, syscall(SYS_io_submit, to_context(&context), (long)count, list));
}

/* ioGetevents(context, results: Int32Array): io_getevents of what is done, without waiting; the result of write number i
 * is put at i; answers how many there were */
static napi_value sys_io_getevents(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	struct bytes context = arg_bytes(&a, 0), results = arg_bytes(&a, 1);
	REFUSE_IF(env, a.bad || context.length != sizeof(aio_context_t));
	struct io_event events[MAX_MESSAGES];
	struct timespec now = {0};
	long count = syscall(SYS_io_getevents, to_context(&context), 0L, (long)MAX_MESSAGES, events, &now);
	for (long i = 0; i < count; i++) {
		int32_t result = (int32_t)events[i].res;
		if (events[i].data < results.length / sizeof(result))
			memcpy(results.data + events[i].data * sizeof(result), &result, sizeof(result));
	}
	ANSWER(env, count);
}

/* siocoutq(fd): ioctl SIOCOUTQ, bytes that a socket has sent and is still charged for */
static napi_value sys_siocoutq(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), charged = 0;
	REFUSE_IF(env, a.bad);
	ANSWER(env, ioctl(fd, SIOCOUTQ, &charged) < 0 ? -1 : charged);
}

/* recvmsg(fd, bytes, offset, length, fds: Int32Array(1 + n): [0] = count received, [1..] = fds, flags); fds arrive
 * close-on-exec; those that do not fit are closed by the kernel or by us. */
static napi_value sys_recvmsg(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct bytes b = arg_bytes(&a, 1);
	double offset = arg_size(&a, 2), length = arg_size(&a, 3);
	struct bytes fds = arg_bytes(&a, 4);
	int flags = arg_int(&a, 5);
	REFUSE_IF(env, a.bad || offset + length > (double)b.length || fds.length < sizeof(int));
	struct iovec part = {.iov_base = b.data + (size_t)offset, .iov_len = (size_t)length};
	union control control;
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	int32_t *out = (int32_t *)(void *)fds.data;
	size_t room = fds.length / sizeof(int32_t) - 1, received = 0;
	ssize_t result = recvmsg(fd, &message, flags | MSG_CMSG_CLOEXEC);
	int receive_error = errno;
	if (result >= 0) {
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
			if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
				continue;
			size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			for (size_t i = 0; i < n; i++) {
				int got;
				memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
				if (received < room)
					out[1 + received++] = got;
				else
					(void)close(got);
			}
		}
	}
	out[0] = (int32_t)received;
	errno = receive_error;
	ANSWER(env, result);
}

/* ---- terminals ------------------------------------------------------------------------------------------------- */

/* tcgetattr(fd, out: Uint8Array(sizeof termios)); answers sizeof(struct termios) */
static napi_value sys_tcgetattr(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct bytes out = arg_bytes(&a, 1);
	REFUSE_IF(env, a.bad || out.length < sizeof(struct termios));
	ANSWER(env, tcgetattr(fd, (struct termios *)(void *)out.data) < 0 ? -1 : (long)sizeof(struct termios));
}

/* tcsetattr(fd, attributes as tcgetattr gave them) at once (TCSANOW) */
static napi_value sys_tcsetattr(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0);
	struct bytes in = arg_bytes(&a, 1);
	REFUSE_IF(env, a.bad || in.length < sizeof(struct termios));
	ANSWER(env, tcsetattr(fd, TCSANOW, (const struct termios *)(const void *)in.data));
}

/* setWindowSize(fd, rows, columns): ioctl TIOCSWINSZ */
static napi_value sys_set_window_size(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int fd = arg_int(&a, 0), rows = arg_int(&a, 1), columns = arg_int(&a, 2);
	struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
	REFUSE_IF(env, a.bad);
	ANSWER(env, ioctl(fd, TIOCSWINSZ, &size));
}

/* strerror(errno): libc's text, as C programs print it with %m */
static napi_value sys_strerror(napi_env env, napi_callback_info info)
{
	struct args a = get_args(env, info);
	int error = arg_int(&a, 0);
	char buffer[128];
	const char *message = strerror_r(a.bad ? EINVAL : error, buffer, sizeof(buffer));
	napi_value result = NULL;
	napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &result);
	return result;
}

static void free_desk(napi_env env, void *data, void *hint)
{
	(void)env;
	(void)hint;
	free(data);
}

/* The thread's desk; JavaScript gets its answers. NULL when there is no memory. */
static struct desk *new_desk(napi_env env, napi_value exports)
{
	napi_value buffer, array;
	napi_ref holder;
	void *answers = NULL;
	struct desk *desk = calloc(1, sizeof(*desk));
	if (desk == NULL)
		return NULL;
	if (napi_set_instance_data(env, desk, free_desk, NULL) != napi_ok) {
		free(desk);
		return NULL;
	}
	if (napi_create_arraybuffer(env, ANSWERS * sizeof(double), &answers, &buffer) != napi_ok ||
	    napi_create_typedarray(env, napi_float64_array, ANSWERS, buffer, 0, &array) != napi_ok ||
	    napi_create_reference(env, array, 1, &holder) != napi_ok || napi_set_named_property(env, exports, "answers", array) != napi_ok)
		return NULL;
	desk->answers = answers;
	return desk;
}

NAPI_MODULE_INIT()
{
	static const struct {
		const char *name;
		napi_callback call;
	} functions[] = {
		{"read", sys_read},
		{"write", sys_write},
		{"keep", sys_keep},
		{"readKept", sys_read_kept},
		{"writeKept", sys_write_kept},
		{"close", sys_close},
		{"dup3", sys_dup3},
		{"pipe2", sys_pipe2},
		{"fcntl", sys_fcntl},
		{"closeRange", sys_close_range},
		{"fionread", sys_fionread},
		{"mkfifo", sys_mkfifo},
		{"memfdCreate", sys_memfd_create},
		{"madvise", sys_madvise},
		{"openat", sys_openat},
		{"openat2", sys_openat2},
		{"renameat2", sys_renameat2},
		{"unlinkat", sys_unlinkat},
		{"fstatat", sys_fstatat},
		{"fstatfs", sys_fstatfs},
		{"fallocate", sys_fallocate},
		{"readlinkat", sys_readlinkat},
		{"mountId", sys_mount_id},
		{"poll", sys_poll},
		{"eventfd", sys_eventfd},
		{"inotifyInit", sys_inotify_init},
		{"inotifyAddWatch", sys_inotify_add_watch},
		{"clockGettime", sys_clock_gettime},
		{"mallocTrim", sys_malloc_trim},
		{"memoryPressure", sys_memory_pressure},
		{"setV8Flags", sys_set_v8_flags},
		{"prctl", sys_prctl},
		{"prctlSetName", sys_prctl_set_name},
		{"waitpid", sys_waitpid},
		{"kill", sys_kill},
		{"getpgid", sys_getpgid},
		{"schedSetscheduler", sys_sched_setscheduler},
		{"schedGetscheduler", sys_sched_getscheduler},
		{"schedGetaffinity", sys_sched_getaffinity},
		{"getpriority", sys_getpriority},
		{"memsAllowed", sys_mems_allowed},
		{"exitNow", sys_exit_now},
		{"spawn", sys_spawn},
		{"socket", sys_socket},
		{"socketpair", sys_socketpair},
		{"bind", sys_bind},
		{"connect", sys_connect},
		{"listen", sys_listen},
		{"accept4", sys_accept4},
		{"getsockopt", sys_getsockopt},
		{"setSendTimeout", sys_set_send_timeout},
		{"setSendBuffer", sys_set_send_buffer},
		{"shutdown", sys_shutdown},
		{"sendmsg", sys_sendmsg},
		{"sendmmsg", sys_sendmmsg},
		{"sendPackets", sys_send_packets},
		{"ioSetup", sys_io_setup},
		{"ioDestroy", sys_io_destroy},
		{"ioSubmitPackets", sys_io_submit_packets},
		{"ioGetevents", sys_io_getevents},
		{"siocoutq", sys_siocoutq},
		{"recvmsg", sys_recvmsg},
		{"watch", sys_watch},
		{"unwatch", sys_unwatch},
		{"watchWaits", sys_watch_waits},
		{"arm", sys_arm},
		{"disarm", sys_disarm},
		{"loopFd", sys_loop_fd},
		{"loopTimeout", sys_loop_timeout},
		{"fsyncLater", sys_fsync_later},
		{"closeLater", sys_close_later},
		{"awaitClose", sys_await_close},
		{"tcgetattr", sys_tcgetattr},
		{"tcsetattr", sys_tcsetattr},
		{"setWindowSize", sys_set_window_size},
		{"strerror", sys_strerror},
	};
	struct desk *desk = new_desk(env, exports);
	if (desk == NULL)
		return NULL;
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		napi_value function;
		if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, desk, &function) != napi_ok ||
		    napi_set_named_property(env, exports, functions[i].name, function) != napi_ok)
			return NULL;
	}
	return exports;
}
