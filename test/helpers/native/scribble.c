/*
 * A container's process that writes a file to stdout and stderr in pieces: scribble DATA PLAN.
 * Each line of PLAN is "FD LENGTH PAUSE_US": the next LENGTH bytes of DATA go to FD in one write, then it pauses.
 * Exits 0 when everything was written. Static: it runs in any root file system.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	int fd = open(argv[1], O_RDONLY);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return 3;
	const char *data = mmap(NULL, (size_t)st.st_size + 1, PROT_READ, MAP_PRIVATE, fd, 0);
	FILE *plan = fopen(argv[2], "r");
	if (data == MAP_FAILED || plan == NULL)
		return 4;
	int to;
	size_t length;
	long pause_us;
	while (fscanf(plan, "%d %zu %ld", &to, &length, &pause_us) == 3) {
		while (length > 0) {
			ssize_t n = write(to, data, length);
			if (n < 0)
				return 5;
			data += n;
			length -= (size_t)n;
		}
		if (pause_us > 0) {
			struct timespec ts = {0, pause_us * 1000};
			nanosleep(&ts, NULL);
		}
	}
	return 0;
}
