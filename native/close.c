/*
 * close(2) on a thread of its own, which ends with it, one at a time in the process: the last close of a file without a name gives its pages
 * and blocks back. No policy: who is refused closes by himself.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include "thread.h"
#include "watch.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* 1 from the hand-over until the fd is closed. Also the word that awaitClose sleeps on. */
static _Atomic uint32_t under_way;

static void leave(void)
{
	atomic_store(&under_way, 0);
	(void)syscall(SYS_futex, &under_way, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void *run(void *data)
{
	(void)close((int)(intptr_t)data);
	leave();
	return NULL;
}

/* closeLater(fd): 0, and the fd is the thread's; or -errno, and it is still the caller's: -EAGAIN when one is under way or there is no thread. */
napi_value sys_close_later(napi_env env, napi_callback_info info)
{
	size_t count = 1;
	napi_value argument[1], result = NULL;
	int32_t fd = -1;
	uint32_t none = 0;
	int failure = EINVAL;
	if (napi_get_cb_info(env, info, &count, argument, NULL, NULL) != napi_ok || count < 1 ||
	    napi_get_value_int32(env, argument[0], &fd) != napi_ok)
		goto answer;
	failure = EBADF;
	if (fd < 0)
		goto answer;
	failure = EAGAIN;
	if (!atomic_compare_exchange_strong(&under_way, &none, 1))
		goto answer;
	if ((failure = start_thread(run, (void *)(intptr_t)fd)) != 0)
		leave();
answer:
	napi_create_int32(env, -failure, &result);
	return result;
}

/* awaitClose(timeoutMs): 0 when none is under way any more, else -ETIMEDOUT or -EINTR */
napi_value sys_await_close(napi_env env, napi_callback_info info)
{
	size_t count = 1;
	napi_value argument[1], result = NULL;
	int32_t timeout_ms = -1;
	int failure = EINVAL;
	if (napi_get_cb_info(env, info, &count, argument, NULL, NULL) != napi_ok || count < 1 ||
	    napi_get_value_int32(env, argument[0], &timeout_ms) != napi_ok || timeout_ms < 0)
		goto answer;
	struct timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};
	failure = 0;
	/* EAGAIN: there was none. */
	if (syscall(SYS_futex, &under_way, FUTEX_WAIT_PRIVATE, 1, &timeout, NULL, 0) < 0 && errno != EAGAIN)
		failure = errno;
answer:
	napi_create_int32(env, -failure, &result);
	return result;
}
