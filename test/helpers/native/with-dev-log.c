/*
 * Runs a program that sees a /dev/log, in a mount namespace of the program's own: what it says to the system's log arrives
 * where a test listens, and the machine's /dev is not touched.
 * PATH.exec has three lines: a directory that holds the link `log`, an empty one, and the program, which gets its
 * arguments: same pid, fds, environment.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char name[4096], upper[4096], work[4096], program[4096], options[16384];
	(void)argc;
	snprintf(name, sizeof name, "%s.exec", argv[0]);
	FILE *f = fopen(name, "re");
	if (f == NULL || fgets(upper, sizeof upper, f) == NULL || fgets(work, sizeof work, f) == NULL ||
	    fgets(program, sizeof program, f) == NULL) {
		perror(name);
		return 126;
	}
	fclose(f);
	for (char *line[] = {upper, work, program}, **l = line; l < line + 3; l++)
		(*l)[strcspn(*l, "\n")] = '\0';
	snprintf(options, sizeof options, "lowerdir=/dev,upperdir=%s,workdir=%s", upper, work);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount("overlay", "/dev", "overlay", 0, options) < 0) {
		perror("with-dev-log: private mount namespace");
		return 126;
	}
	argv[0] = program;
	execv(program, argv);
	perror(program);
	return 127;
}
