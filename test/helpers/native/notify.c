/*
 * notify SOCKET MESSAGE...: sends each message as one datagram to a socket, as sd_notify(3) does. "\n" in a message is a
 * newline. Static, so that it runs in any container.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (argc < 3 || fd < 0 || strlen(argv[1]) >= sizeof address.sun_path)
		return 2;
	strcpy(address.sun_path, argv[1]);
	for (int i = 2; i < argc; i++) {
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
	return 0;
}
