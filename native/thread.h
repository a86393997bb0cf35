/* A thread that nobody waits for. It takes no signals: they are main's. */
#pragma once

/* 0, or the errno of there being none. */
int start_thread(void *(*run)(void *), void *data);
