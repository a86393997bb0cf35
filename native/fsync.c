/*
 * fsync(2) on a thread of its own: a disk may take as long as it wants, and libuv's pool, which would do it too, ends the process when it
 * cannot start a thread (abort in init_threads of its threadpool.c). One thread that is done waits a moment for the next file: of execs
 * that come one after the other each would start its own (docs/adr/0070-what-an-exec-with-a-log-costs.md). No policy: who asks keeps the fd
 * open meanwhile.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include "thread.h"
#include "watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

/* How long a thread that is done waits for another file. It wakes up once more, at the end of that. */
#define LINGER_NS 1000000000ULL

struct sync {
	uv_async_t done;
	napi_env env;
	napi_ref callback;
	napi_async_context context;
	int fd;
	int result;
};

/* Who waits for another file, one thread at most, and what it is given. All under the lock. */
static uv_once_t once = UV_ONCE_INIT;
static uv_mutex_t lock;
static uv_cond_t given;
static bool can_linger, lingers;
static struct sync *next;

static void prepare(void)
{
	can_linger = uv_mutex_init(&lock) == 0 && uv_cond_init(&given) == 0;
}

/* The next file, if one comes in time and nobody else waits for it. */
static struct sync *another(void)
{
	struct sync *s = NULL;

	if (!can_linger)
		return NULL;
	uv_mutex_lock(&lock);
	if (!lingers) {
		uint64_t now = uv_hrtime(), end = now + LINGER_NS;
		lingers = true;
		for (; next == NULL && now < end; now = uv_hrtime())
			(void)uv_cond_timedwait(&given, &lock, end - now);
		s = next;
		next = NULL;
		lingers = false;
	}
	uv_mutex_unlock(&lock);
	return s;
}

/* To a thread that waits for it; false: there is none. */
static bool give(struct sync *s)
{
	uv_once(&once, prepare);
	if (!can_linger)
		return false;
	uv_mutex_lock(&lock);
	bool taken = lingers && next == NULL;
	if (taken)
		next = s;
	uv_mutex_unlock(&lock);
	if (taken)
		uv_cond_signal(&given);
	return taken;
}

/* Once it is told, what it was about is main's to free. */
static void *run(void *data)
{
	for (struct sync *s = data; s != NULL; s = another()) {
		s->result = fsync(s->fd) < 0 ? -errno : 0;
		(void)uv_async_send(&s->done);
	}
	return NULL;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void on_done(uv_async_t *done)
{
	struct sync *s = done->data;
	napi_handle_scope scope;
	if (napi_open_handle_scope(s->env, &scope) != napi_ok)
		return;
	napi_value callback, receiver, argument;
	if (napi_get_reference_value(s->env, s->callback, &callback) == napi_ok && napi_get_global(s->env, &receiver) == napi_ok &&
	    napi_create_int32(s->env, s->result, &argument) == napi_ok &&
	    napi_make_callback(s->env, s->context, receiver, callback, 1, &argument, NULL) == napi_pending_exception) {
		napi_value error;
		if (napi_get_and_clear_last_exception(s->env, &error) == napi_ok)
			(void)napi_fatal_exception(s->env, error);
	}
	(void)napi_delete_reference(s->env, s->callback);
	(void)napi_async_destroy(s->env, s->context);
	napi_close_handle_scope(s->env, scope);
	uv_close((uv_handle_t *)done, on_closed);
}

/* fsyncLater(fd, callback): 0, or -errno when there is no thread for it. The callback gets 0 or a negative errno, once. */
napi_value sys_fsync_later(napi_env env, napi_callback_info info)
{
	size_t count = 2;
	napi_value argument[2], result = NULL, name;
	int32_t fd = -1;
	uv_loop_t *loop = NULL;
	int failure = -EINVAL;
	struct sync *s = NULL;
	if (napi_get_cb_info(env, info, &count, argument, NULL, NULL) != napi_ok || count < 2 ||
	    napi_get_value_int32(env, argument[0], &fd) != napi_ok || napi_get_uv_event_loop(env, &loop) != napi_ok)
		goto answer;
	failure = -ENOMEM;
	if ((s = calloc(1, sizeof(*s))) == NULL)
		goto answer;
	s->env = env;
	s->fd = fd;
	if (napi_create_reference(env, argument[1], 1, &s->callback) != napi_ok) {
		failure = -EINVAL;
		goto forget;
	}
	if (napi_create_string_utf8(env, "conmon:fsync", NAPI_AUTO_LENGTH, &name) != napi_ok ||
	    napi_async_init(env, NULL, name, &s->context) != napi_ok) {
		(void)napi_delete_reference(env, s->callback);
		goto forget;
	}
	if ((failure = uv_async_init(loop, &s->done, on_done)) != 0)
		goto release;
	s->done.data = s;
	if (give(s) || (failure = -start_thread(run, s)) == 0)
		goto answer;
	(void)napi_delete_reference(env, s->callback);
	(void)napi_async_destroy(env, s->context);
	uv_close((uv_handle_t *)&s->done, on_closed);
	goto answer;
release:
	(void)napi_delete_reference(env, s->callback);
	(void)napi_async_destroy(env, s->context);
forget:
	free(s);
answer:
	napi_create_int32(env, failure, &result);
	return result;
}
