/*
 * Says what a C library answers: linked once with native/small-libc.c and once with glibc, it must say the same.
 * Usage: libc-probe text STRING... | errors | overrun | smash | signal | environment NAME... | guard
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t signals;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	char line[4096];
	va_list args;

	va_start(args, format);
	int length = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (length < 0 || (size_t)length >= sizeof(line) || write(STDOUT_FILENO, line, (size_t)length) != length)
		_exit(1);
}

static int offset(const char *text, const char *found)
{
	return found == NULL ? -1 : (int)(found - text);
}

static int sign(int value)
{
	return (value > 0) - (value < 0);
}

static void numbers(const char *text)
{
	char *end;

	errno = 0;
	long value = strtol(text, &end, 10);
	say("strtol %016lx %d %d\n", (unsigned long)value, offset(text, end), errno);
	errno = 0;
	unsigned long long large = strtoull(text, &end, 10);
	say("strtoull %llu %016llx %d %d\n", large, large, offset(text, end), errno);
	say("%d %u %x %02x\n", (int)value, (unsigned int)value, (unsigned int)value, (unsigned int)value & 0xff);
}

static void strings(const char *text, const char *other)
{
	char cut[8];

	say("%d %d %d ", (int)strlen(text), (int)strspn(text, "01 "), (int)strspn(text, other));
	say("%d %d %d ", offset(text, strchr(text, '1')), offset(text, strchr(text, '\0')), offset(text, strrchr(text, '1')));
	say("%d %d %d\n", offset(text, strrchr(text, '\0')), sign(strcmp(text, other)), sign(strncmp(text, other, 3)));
	int wanted = snprintf(cut, sizeof(cut), "%s,%d%%", text, (int)strlen(other));
	say("%d '%s' %d\n", wanted, cut, snprintf(NULL, 0, "%s%s", text, other));
}

/* `length` is not known to the compiler: it asks __memcpy_chk. */
static void overrun(const char *from, size_t length)
{
	char small[8];

	memcpy(small, from, length);
	say("%c\n", small[0]);
}

static __attribute__((noinline)) void smash(volatile size_t length)
{
	char small[8];
	volatile char *at = small;

	for (size_t i = 0; i < length; i++)
		at[i] = 'x';
	say("%c\n", small[0]);
}

static void on_signal(int number)
{
	signals += number;
}

static void signal_myself(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigset_t set;

	sigaction(SIGTERM, &action, NULL);
	for (int i = 0; i < 3; i++)
		kill(getpid(), SIGTERM);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGTERM);
	say("%d\n", (int)signals);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	say("%d %d\n", (int)signals, SIGRTMAX);
}

#ifdef SMALL
extern uintptr_t __stack_chk_guard;

static void tell_guard(void)
{
	say("%016lx\n", (unsigned long)__stack_chk_guard);
}
#else
static void tell_guard(void)
{
}
#endif

int main(int argc, char **argv, char **envp)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "text") == 0)
		for (int i = 2; i < argc; i++) {
			numbers(argv[i]);
			strings(argv[i], argv[i - 1]);
		}
	else if (strcmp(what, "errors") == 0)
		for (int number = 0; number < 200; number++) {
			errno = number;
			say("%m\n");
		}
	else if (strcmp(what, "overrun") == 0)
		overrun(argv[0], strlen(argv[0]) + 8);
	else if (strcmp(what, "smash") == 0)
		smash(strlen(argv[0]) + 64);
	else if (strcmp(what, "signal") == 0)
		signal_myself();
	else if (strcmp(what, "guard") == 0)
		tell_guard();
	else if (strcmp(what, "environment") == 0) {
		for (int i = 2; i < argc; i++) {
			const char *value = getenv(argv[i]);
			say("%s\n", value == NULL ? "(none)" : value);
		}
		for (; *envp != NULL; envp++)
			say("%s\n", *envp);
		volatile size_t many = SIZE_MAX;
		const char **zeros = calloc(3, sizeof(*zeros));
		say("%d %d\n", zeros != NULL && zeros[0] == NULL && zeros[2] == NULL, calloc(many, 2) == NULL);
	} else
		return 2;
	return 3;
}
