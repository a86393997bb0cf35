/*
 * Waits out what is left of an exec's --exit-delay when the daemon that held the exec has ended with its container, then
 * becomes the exit command: MILLISECONDS PROGRAM ARGUMENTS... A signal that asks for an end ends the wait, as it does in
 * the daemon. It holds no fd but 0, 1 and 2 and a few pages of memory (docs/adr/0035-sessions.md).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define EXIT_OWN_ERROR 1

static volatile sig_atomic_t hurry;

static void on_signal(int signal_number)
{
	(void)signal_number;
	hurry = 1;
}

int main(int argc, char **argv, char **envp)
{
	static const int ends[] = {SIGTERM, SIGINT, SIGQUIT};
	struct sigaction action = {.sa_handler = on_signal};

	if (argc < 3)
		return EXIT_OWN_ERROR;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		sigaction(ends[i], &action, NULL);
	long long ms = strtoll(argv[1], NULL, 10);
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	while (!hurry && nanosleep(&left, &left) == -1 && errno == EINTR)
		;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		signal(ends[i], SIG_DFL);
	execve(argv[2], argv + 2, envp);
	return EXIT_OWN_ERROR;
}
