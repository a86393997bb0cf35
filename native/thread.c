/* Starts a thread: see thread.h. Not one of libuv's pool, which ends the process where it cannot start one. */
#define _GNU_SOURCE
#include "thread.h"

#include <pthread.h>
#include <signal.h>

/* glibc takes thread-local storage from it too; the rest is never touched. */
#define STACK_BYTES (256 * 1024)

int start_thread(void *(*run)(void *), void *data)
{
	pthread_t thread;
	pthread_attr_t attributes;
	sigset_t all, before;
	int failure = pthread_attr_init(&attributes);
	if (failure != 0)
		return failure;
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	failure = pthread_create(&thread, &attributes, run, data);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attributes);
	return failure;
}
