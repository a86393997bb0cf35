/*
 * Readiness of one fd in Node's event loop, and the moment before the loop waits: libuv's poll and prepare handles, which Node
 * itself does not offer to JavaScript. Main needs them for the console socket, the attach socket, the control fifos, and for the
 * logs that it writes. No policy: who watches reads the fd.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include "watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <uv.h>

struct watch {
	union {
		uv_handle_t any;
		uv_poll_t poll;
		uv_prepare_t prepare;
	};
	/* Of a poll handle: what it is watched for. */
	int wanted;
	napi_env env;
	napi_ref callback;
	napi_async_context context;
	/* The thread that ends closes what it still watches: libuv aborts the process for a handle that is left open. */
	napi_async_cleanup_hook_handle teardown;
	int closed;
	/* libuv and the JavaScript object each hold it until they are done with it. */
	int holders;
};

static void let_go(struct watch *w)
{
	if (--w->holders == 0)
		free(w);
}

static void call(struct watch *w, int status)
{
	napi_handle_scope scope;
	if (napi_open_handle_scope(w->env, &scope) != napi_ok)
		return;
	napi_value callback, receiver, argument;
	/* The receiver must be an object: with undefined nothing is called, and the TypeError waits for the next call into the addon. */
	if (napi_get_reference_value(w->env, w->callback, &callback) == napi_ok && napi_get_global(w->env, &receiver) == napi_ok &&
	    napi_create_int32(w->env, status, &argument) == napi_ok &&
	    napi_make_callback(w->env, w->context, receiver, callback, 1, &argument, NULL) == napi_pending_exception) {
		napi_value error;
		if (napi_get_and_clear_last_exception(w->env, &error) == napi_ok)
			(void)napi_fatal_exception(w->env, error);
	}
	napi_close_handle_scope(w->env, scope);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	(void)events;
	call(poll->data, status);
}

static void on_wait(uv_prepare_t *prepare)
{
	call(prepare->data, 0);
}

static int arm(struct watch *w)
{
	return w->any.type == UV_POLL ? uv_poll_start(&w->poll, w->wanted, on_ready) : uv_prepare_start(&w->prepare, on_wait);
}

static int disarm(struct watch *w)
{
	return w->any.type == UV_POLL ? uv_poll_stop(&w->poll) : uv_prepare_stop(&w->prepare);
}

static void on_closed(uv_handle_t *handle)
{
	struct watch *w = handle->data;
	if (w->teardown != NULL)
		(void)napi_remove_async_cleanup_hook(w->teardown);
	let_go(w);
}

static void on_teardown(napi_async_cleanup_hook_handle handle, void *data)
{
	struct watch *w = data;
	(void)handle;
	if (!w->closed) {
		w->closed = 1;
		uv_close(&w->any, on_closed);
	}
}

static void on_collected(napi_env env, void *data, void *hint)
{
	(void)env;
	(void)hint;
	let_go(data);
}

/* What a handle that libuv has made calls, and how it ends with its thread. */
static int wire(napi_env env, struct watch *w, napi_value callback)
{
	napi_value name;
	w->any.data = w;
	if (napi_create_reference(env, callback, 1, &w->callback) != napi_ok ||
	    napi_create_string_utf8(env, "conmon:watch", NAPI_AUTO_LENGTH, &name) != napi_ok ||
	    napi_async_init(env, NULL, name, &w->context) != napi_ok || napi_add_async_cleanup_hook(env, on_teardown, w, &w->teardown) != napi_ok)
		return -EINVAL;
	return 0;
}

static struct watch *new_watch(napi_env env)
{
	struct watch *w = calloc(1, sizeof(*w));
	if (w == NULL)
		return NULL;
	w->env = env;
	w->holders = 1;
	return w;
}

static napi_value errno_value(napi_env env, int failure)
{
	napi_value result = NULL;
	(void)napi_create_int32(env, failure, &result);
	return result;
}

static void end(struct watch *w)
{
	w->closed = 1;
	(void)napi_delete_reference(w->env, w->callback);
	(void)napi_async_destroy(w->env, w->context);
	uv_close(&w->any, on_closed);
}

/* The handle for JavaScript; one that could not be wired is closed. */
static napi_value handle_value(napi_env env, struct watch *w, int failure)
{
	napi_value result = NULL;
	if (failure == 0 && napi_create_external(env, w, on_collected, NULL, &result) != napi_ok)
		failure = -ENOMEM;
	if (failure == 0) {
		w->holders++;
		return result;
	}
	end(w);
	return errno_value(env, failure);
}

/*
 * watch(fd, callback, writable): an opaque handle, or -errno. The callback gets 0, or a negative errno, each time fd can be read or was
 * hung up; with writable, each time it can be written.
 */
napi_value sys_watch(napi_env env, napi_callback_info info)
{
	size_t count = 3;
	napi_value argument[3];
	int32_t fd = -1;
	bool writable = false;
	uv_loop_t *loop = NULL;
	if (napi_get_cb_info(env, info, &count, argument, NULL, NULL) != napi_ok || count < 2 ||
	    napi_get_value_int32(env, argument[0], &fd) != napi_ok ||
	    (count > 2 && napi_get_value_bool(env, argument[2], &writable) != napi_ok) || napi_get_uv_event_loop(env, &loop) != napi_ok)
		return errno_value(env, -EINVAL);
	struct watch *w = new_watch(env);
	if (w == NULL)
		return errno_value(env, -ENOMEM);
	int failure = uv_poll_init(loop, &w->poll, fd);
	if (failure != 0) {
		free(w);
		return errno_value(env, failure);
	}
	w->wanted = writable ? UV_WRITABLE : UV_READABLE | UV_DISCONNECT;
	failure = wire(env, w, argument[1]);
	return handle_value(env, w, failure == 0 ? arm(w) : failure);
}

/* watchWaits(callback): an opaque handle, or -errno. The callback gets 0 each time before the loop waits, once the handle is armed. */
napi_value sys_watch_waits(napi_env env, napi_callback_info info)
{
	size_t count = 1;
	napi_value argument[1];
	uv_loop_t *loop = NULL;
	if (napi_get_cb_info(env, info, &count, argument, NULL, NULL) != napi_ok || count < 1 || napi_get_uv_event_loop(env, &loop) != napi_ok)
		return errno_value(env, -EINVAL);
	struct watch *w = new_watch(env);
	if (w == NULL)
		return errno_value(env, -ENOMEM);
	(void)uv_prepare_init(loop, &w->prepare); /* cannot fail */
	return handle_value(env, w, wire(env, w, argument[0]));
}

/* The handle that is the first argument; NULL when there is none. */
static struct watch *arg_watch(napi_env env, napi_callback_info info)
{
	size_t count = 1;
	napi_value argument[1];
	napi_valuetype type;
	void *data = NULL;
	if (napi_get_cb_info(env, info, &count, argument, NULL, NULL) != napi_ok || count != 1 || napi_typeof(env, argument[0], &type) != napi_ok ||
	    type != napi_external || napi_get_value_external(env, argument[0], &data) != napi_ok)
		return NULL;
	return data;
}

/* arm(handle): it calls again. An error of a watched fd's is its owner's. */
napi_value sys_arm(napi_env env, napi_callback_info info)
{
	struct watch *w = arg_watch(env, info);
	return errno_value(env, w == NULL || w->closed ? -EINVAL : arm(w));
}

/* disarm(handle): it calls no more until it is armed; an fd leaves the loop's epoll at once. */
napi_value sys_disarm(napi_env env, napi_callback_info info)
{
	struct watch *w = arg_watch(env, info);
	return errno_value(env, w == NULL || w->closed ? -EINVAL : disarm(w));
}

/* loopFd(): what becomes readable when the loop has something to do. The loop's own. */
napi_value sys_loop_fd(napi_env env, napi_callback_info info)
{
	uv_loop_t *loop = NULL;
	(void)info;
	return errno_value(env, napi_get_uv_event_loop(env, &loop) == napi_ok ? uv_backend_fd(loop) : -EINVAL);
}

/* loopTimeout(): milliseconds that the loop would wait now, by its clock, which is brought up to date; -1 = for ever. */
napi_value sys_loop_timeout(napi_env env, napi_callback_info info)
{
	uv_loop_t *loop = NULL;
	(void)info;
	if (napi_get_uv_event_loop(env, &loop) != napi_ok)
		return errno_value(env, 0);
	uv_update_time(loop);
	return errno_value(env, uv_backend_timeout(loop));
}

/* unwatch(handle): once a handle; the fd stays the caller's to close, after this. */
napi_value sys_unwatch(napi_env env, napi_callback_info info)
{
	struct watch *w = arg_watch(env, info);
	if (w == NULL)
		return errno_value(env, -EINVAL);
	if (!w->closed)
		end(w);
	return errno_value(env, 0);
}
