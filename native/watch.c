/*
 * Readiness of one fd in Node's event loop: libuv's poll handle, which Node itself does not offer to JavaScript. Main
 * needs it for the console socket, the attach socket and the control fifos. No policy: who watches reads the fd.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 9
#include "watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <uv.h>

struct watch {
	uv_poll_t poll;
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

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;
	napi_handle_scope scope;
	if (napi_open_handle_scope(w->env, &scope) != napi_ok)
		return;
	napi_value callback, receiver, argument;
	(void)events;
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
		uv_close((uv_handle_t *)&w->poll, on_closed);
	}
}

static void on_collected(napi_env env, void *data, void *hint)
{
	(void)env;
	(void)hint;
	let_go(data);
}

/*
 * watch(fd, callback, writable): an opaque handle, or -errno. The callback gets 0, or a negative errno, each time fd can be read or was
 * hung up; with writable, each time it can be written.
 */
napi_value sys_watch(napi_env env, napi_callback_info info)
{
	size_t count = 3;
	napi_value argument[3], result = NULL, name;
	int32_t fd = -1;
	bool writable = false;
	uv_loop_t *loop = NULL;
	int failure = -EINVAL;
	struct watch *w = NULL;
	if (napi_get_cb_info(env, info, &count, argument, NULL, NULL) != napi_ok || count < 2 ||
	    napi_get_value_int32(env, argument[0], &fd) != napi_ok ||
	    (count > 2 && napi_get_value_bool(env, argument[2], &writable) != napi_ok) || napi_get_uv_event_loop(env, &loop) != napi_ok)
		goto refuse;
	w = calloc(1, sizeof(*w));
	if (w == NULL) {
		failure = -ENOMEM;
		goto refuse;
	}
	w->env = env;
	w->holders = 1;
	if ((failure = uv_poll_init(loop, &w->poll, fd)) != 0) {
		free(w);
		goto refuse;
	}
	w->poll.data = w;
	if (napi_create_reference(env, argument[1], 1, &w->callback) != napi_ok ||
	    napi_create_string_utf8(env, "conmon:watch", NAPI_AUTO_LENGTH, &name) != napi_ok ||
	    napi_async_init(env, NULL, name, &w->context) != napi_ok || napi_add_async_cleanup_hook(env, on_teardown, w, &w->teardown) != napi_ok || (failure = uv_poll_start(&w->poll, writable ? UV_WRITABLE : UV_READABLE | UV_DISCONNECT, on_ready)) != 0) {
		uv_close((uv_handle_t *)&w->poll, on_closed);
		goto refuse;
	}
	if (napi_create_external(env, w, on_collected, NULL, &result) != napi_ok) {
		failure = -ENOMEM;
		uv_close((uv_handle_t *)&w->poll, on_closed);
		goto refuse;
	}
	w->holders++;
	return result;
refuse:
	napi_create_int32(env, failure == 0 ? -EINVAL : failure, &result);
	return result;
}

/* unwatch(handle): once a handle; the fd stays the caller's to close, after this. */
napi_value sys_unwatch(napi_env env, napi_callback_info info)
{
	size_t count = 1;
	napi_value argument[1], result = NULL;
	napi_valuetype type;
	void *data = NULL;
	if (napi_get_cb_info(env, info, &count, argument, NULL, NULL) == napi_ok && count == 1 &&
	    napi_typeof(env, argument[0], &type) == napi_ok && type == napi_external &&
	    napi_get_value_external(env, argument[0], &data) == napi_ok) {
		struct watch *w = data;
		if (!w->closed) {
			w->closed = 1;
			(void)uv_poll_stop(&w->poll);
			(void)napi_delete_reference(env, w->callback);
			(void)napi_async_destroy(env, w->context);
			uv_close((uv_handle_t *)&w->poll, on_closed);
		}
		napi_create_int32(env, 0, &result);
		return result;
	}
	napi_create_int32(env, -EINVAL, &result);
	return result;
}
