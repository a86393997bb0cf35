/*
 * Runs a program (crun) where /sys/fs/cgroup is plain cgroup v1: crun before 1.9 refuses a hybrid layout as long as the
 * v2 hierarchy has a controller, so that mount is taken away in a mount namespace of the program's own.
 * It becomes the program named in its PATH.exec, with its own arguments: same pid, fds, environment.
 */
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static char name[4096], program[4096];
	(void)argc;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		perror("cgroup-v1: private mount namespace");
		return 126;
	}
	umount2("/sys/fs/cgroup/unified", MNT_DETACH);
	snprintf(name, sizeof name, "%s.exec", argv[0]);
	FILE *f = fopen(name, "re");
	if (f == NULL || fgets(program, sizeof program, f) == NULL) {
		perror(name);
		return 126;
	}
	fclose(f);
	argv[0] = program;
	execv(program, argv);
	perror(program);
	return 127;
}
