/* Functions of watch.c, fsync.c and close.c that sys.c puts into the addon's table. */
#pragma once
#include <node_api.h>

napi_value sys_watch(napi_env env, napi_callback_info info);
napi_value sys_unwatch(napi_env env, napi_callback_info info);
napi_value sys_watch_waits(napi_env env, napi_callback_info info);
napi_value sys_arm(napi_env env, napi_callback_info info);
napi_value sys_disarm(napi_env env, napi_callback_info info);
napi_value sys_loop_fd(napi_env env, napi_callback_info info);
napi_value sys_loop_timeout(napi_env env, napi_callback_info info);
napi_value sys_fsync_later(napi_env env, napi_callback_info info);
napi_value sys_close_later(napi_env env, napi_callback_info info);
napi_value sys_await_close(napi_env env, napi_callback_info info);
