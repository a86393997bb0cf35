/*
 * notify SOCKET [-w] MESSAGE...: sends each message as one datagram to a socket, as sd_notify(3) does. "\n" in a message is
 * a newline. With -w it then waits until the receiver has read everything. Static, so that it runs in any container.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <linux/sockios.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (argc < 3 || fd < 0 || strlen(argv[1]) >= sizeof address.sun_path)
		return 2;
	strcpy(address.sun_path, argv[1]);
	int waits = strcmp(argv[2], "-w") == 0, unread = 0;
	for (int i = 2 + waits; i < argc; i++) {
		size_t length = 0;
		char *message = argv[i];
		for (char *in = message; *in != '\0'; length++)
			if (in[0] == '\\' && in[1] == 'n') {
				message[length] = '\n';
				in += 2;
			} else
				message[length] = *in++;
		if (sendto(fd, message, length, 0, (struct sockaddr *)&address, sizeof address) < 0) {
			perror(argv[1]);
			return 1;
		}
	}
	const struct timespec moment = {0, 2000000};
	while (waits && ioctl(fd, SIOCOUTQ, &unread) == 0 && unread > 0)
		nanosleep(&moment, NULL);
	return 0;
}
