/*
 * A file system whose server does not answer: mounts FUSE at a directory and never reads a request, until it is killed;
 * then the kernel fails everything that waits. Says "mounted" when it is there. Usage: hang DIRECTORY
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char options[128];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (argc != 2 || fd == -1) {
		dprintf(2, "hang: /dev/fuse: %s\n", strerror(errno));
		return 1;
	}
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd);
	if (mount("hang", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) == -1) {
		dprintf(2, "hang: mount: %s\n", strerror(errno));
		return 1;
	}
	dprintf(1, "mounted\n");
	for (;;)
		pause();
}
