/*
 * Runs a program where /run is another directory, in a mount namespace of the program's own: a journald and those who log
 * to it meet in that directory, and the machine's own journal hears nothing of it.
 * PATH.exec has two lines, the directory and the program, which gets its arguments: same pid, fds, environment.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char name[4096], directory[4096], program[4096];
	(void)argc;
	snprintf(name, sizeof name, "%s.exec", argv[0]);
	FILE *f = fopen(name, "re");
	if (f == NULL || fgets(directory, sizeof directory, f) == NULL || fgets(program, sizeof program, f) == NULL) {
		perror(name);
		return 126;
	}
	fclose(f);
	directory[strcspn(directory, "\n")] = '\0';
	program[strcspn(program, "\n")] = '\0';
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(directory, "/run", NULL, MS_BIND, NULL) < 0) {
		perror("with-run: private mount namespace");
		return 126;
	}
	argv[0] = program;
	execv(program, argv);
	perror(program);
	return 127;
}
