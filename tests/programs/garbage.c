/*
 * Says things to the guest agent that no process should. Usage:
 *   garbage bytes|oversized|empty-register|flood
 * Prints how the agent took it: "closed" or "open".
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int connected(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strcpy(address.sun_path, "/run/isahotplug/agent.sock");
    int s = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (connect(s, (struct sockaddr *)&address, sizeof address) != 0) {
        perror("connect");
        return -1;
    }
    return s;
}

/* Reads until the agent closes the connection. */
static int closes(int s)
{
    char buffer[65536];
    for (;;) {
        struct pollfd p = { .fd = s, .events = POLLIN };
        if (poll(&p, 1, 10000) != 1)
            return 0;
        if (recv(s, buffer, sizeof buffer, 0) <= 0)
            return 1;
    }
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    char packet[3000];
    int s = connected();
    if (s < 0)
        return 1;
    memset(packet, 0xa5, sizeof packet);
    if (!strcmp(what, "bytes"))
        send(s, packet, 100, MSG_NOSIGNAL);
    else if (!strcmp(what, "oversized"))
        send(s, packet, sizeof packet, MSG_NOSIGNAL);
    else if (!strcmp(what, "truncated"))
        /* Format 1, Register, and nothing of it. */
        send(s, "\1\0", 2, MSG_NOSIGNAL);
    else
        return 2;
    puts(closes(s) ? "closed" : "open");
    return 0;
}
