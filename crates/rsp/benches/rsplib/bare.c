/* The floor, and what asks: blocking one-to-many sockets of the kernel's SCTP, one system call a message, one message
 * under way. Every figure of this bench is taken by the same few lines, whoever answers.
 *
 *   bare echo ADDRESS PORT                                answers for ever; the first 4 octets of a message say with how many
 *   bare trips ADDRESS PORT COUNT STEP REQUEST [ANSWER]   median time and length of an answer. STEP: where a number in the
 *                                                         request counts up, or -1; ANSWER: what to ask an echo for
 *   bare watch ADDRESS PORT COUNT STEP REQUEST PID MS     registers COUNT elements, says "ready", answers keep-alives; how many
 *                                                         came in the next MS milliseconds, and what process PID computed then
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <linux/sctp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { ASAP = 11, KEEP_ALIVE = 7, KEEP_ALIVE_ACK = 8, WARM = 100 };
static unsigned char octets[1 << 16];

static void must(int holds, const char *what) {
    if (!holds) { perror(what); exit(1); }
}

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static struct sockaddr_in address(const char *ip, const char *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    must(inet_pton(AF_INET, ip, &at.sin_addr) == 1, "address");
    return at;
}

static int open_socket(void) {
    int fd = socket(AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP), on = 1;
    must(fd >= 0, "socket");
    must(setsockopt(fd, IPPROTO_SCTP, SCTP_NODELAY, &on, sizeof on) == 0, "SCTP_NODELAY");
    return fd;
}

static void say(int fd, struct sockaddr_in *to, const void *bytes, size_t length) {
    union { char room[CMSG_SPACE(sizeof(struct sctp_sndinfo))]; struct cmsghdr aligned; } control = {0};
    struct iovec part = {(void *)bytes, length};
    struct msghdr message = {to, sizeof *to, &part, 1, &control, sizeof control, 0};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_SCTP;
    header->cmsg_type = SCTP_SNDINFO;
    header->cmsg_len = CMSG_LEN(sizeof(struct sctp_sndinfo));
    ((struct sctp_sndinfo *)CMSG_DATA(header))->snd_ppid = htonl(ASAP);
    must(sendmsg(fd, &message, 0) >= 0, "sendmsg");
}

static size_t hear(int fd, struct sockaddr_in *from) {
    struct iovec part = {octets, sizeof octets};
    struct msghdr message = {from, sizeof *from, &part, 1, NULL, 0, 0};
    ssize_t length = recvmsg(fd, &message, 0);
    if (length < 0 && errno == EAGAIN) return 0;
    must(length >= 0, "recvmsg");
    return length;
}

/* From now on nothing is waited for longer: then 0 octets are heard. */
static void patience(int fd, int milliseconds) {
    struct timeval time = {milliseconds / 1000, milliseconds % 1000 * 1000};
    must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0, "SO_RCVTIMEO");
}

static void echo(struct sockaddr_in at) {
    int fd = open_socket();
    must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 16) == 0, "listen");
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct sockaddr_in from;
        uint32_t wanted;
        hear(fd, &from);
        memcpy(&wanted, octets, sizeof wanted);
        say(fd, &from, octets, ntohl(wanted));
    }
}

static unsigned char request[4096];
static size_t request_length;

static void read_request(const char *hex) {
    for (unsigned octet; sscanf(hex, "%2x", &octet) == 1; hex += 2) request[request_length++] = octet;
}

static void count_up(int step) {
    uint32_t number;
    if (step < 0) return;
    memcpy(&number, request + step, sizeof number);
    number = htonl(ntohl(number) + 1);
    memcpy(request + step, &number, sizeof number);
}

static int by_size(const void *one, const void *other) {
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

static void trips(struct sockaddr_in at, int count, int step, uint32_t answer) {
    int fd = open_socket();
    size_t length = 0;
    int64_t *times = calloc(count, sizeof *times);
    patience(fd, 20000);
    if (answer) { answer = htonl(answer); memcpy(request, &answer, sizeof answer); }
    for (int trip = 0; trip < count + WARM; trip++) {
        int64_t begun = now();
        say(fd, &at, request, request_length);
        length = hear(fd, NULL);
        must(length > 0, "an answer");
        if (trip >= WARM) times[trip - WARM] = now() - begun;
        count_up(step);
    }
    qsort(times, count, sizeof *times, by_size);
    printf("%lld\n%zu\n", (long long)times[count / 2], length);
}

/* Nanoseconds that all threads of a process have computed. */
static int64_t computed(const char *pid) {
    char name[300];
    int64_t all = 0;
    snprintf(name, sizeof name, "/proc/%s/task", pid);
    DIR *folder = opendir(name);
    must(folder != NULL, name);
    for (struct dirent *task; (task = readdir(folder));) {
        long long spent = 0;
        if (task->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "/proc/%s/task/%s/schedstat", pid, task->d_name);
        FILE *file = fopen(name, "r");
        must(file && fscanf(file, "%lld", &spent) == 1, name);
        fclose(file);
        all += spent;
    }
    closedir(folder);
    return all;
}

static void watch(struct sockaddr_in at, int count, int step, const char *pid, int milliseconds) {
    int fd = open_socket(), asked = 0, answered = 0;
    int64_t end = 0, before = 0;
    /* On a machine with too much to do, elements may be taken for dead; then nobody asks for them any more. */
    patience(fd, 100);
    say(fd, &at, request, request_length);
    asked = 1;
    for (;;) {
        size_t length = hear(fd, NULL);
        if (length == 0) {
            /* Only the time may be over. */
        } else if (octets[0] == KEEP_ALIVE) {
            /* The acknowledgement is the question without the registrar's identifier. */
            octets[4] = KEEP_ALIVE_ACK, octets[5] = 0, octets[6] = (length - 4) >> 8, octets[7] = length - 4;
            say(fd, &at, octets + 4, length - 4);
            answered++;
        } else if (asked < count) {
            count_up(step);
            say(fd, &at, request, request_length);
            asked++;
        } else if (!end) {
            /* All are there. What the first ones were asked meanwhile does not count. */
            answered = 0, before = computed(pid), end = now() + milliseconds * 1000000LL;
            puts("ready");
            fflush(stdout);
        }
        if (end && now() >= end) break;
    }
    printf("%d\n%lld\n", answered, (long long)(computed(pid) - before));
}

int main(int count, char **words) {
    must(count >= 4, "words");
    struct sockaddr_in at = address(words[2], words[3]);
    if (count == 4) echo(at);
    must(count >= 7, "words");
    read_request(words[6]);
    if (count >= 9) watch(at, atoi(words[4]), atoi(words[5]), words[7], atoi(words[8]));
    else trips(at, atoi(words[4]), atoi(words[5]), count == 8 ? atoi(words[7]) : 0);
    return 0;
}
