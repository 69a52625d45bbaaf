/* The upstream of the benchmark: canned replies to POSTs, at so low a cost that it never limits a measurement.
 *
 *     upstream [PORT,FILE[,delay=MS][,pace=MS][,sink=MB_PER_SECOND]]...
 *
 * Each port answers every POST with its file as JSON: immediately, after a delay, or spread over a time. A sink takes
 * bodies at a rate. GET /counts returns the number of received POSTs and of completely sent answers, and the time
 * (CLOCK_MONOTONIC, ns) of the last byte of the last answer. Other GETs, of the job that looks for old assets, are not
 * counted, and their status is 404. It ends when its parent does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_BYTES = 16 << 10, READ_BYTES = 256 << 10, EVENTS = 512, TICK_NS = 5000000 };

typedef long long ns_t;
typedef enum { HEAD, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, WAIT, ANSWER } state_t;

typedef struct {
    int fd, port;
    char *answer; /* head and body */
    size_t size, head_size;
    ns_t delay, pace, last;
    double sink; /* bytes per ns; 0: as fast as they come */
    long requests, answers;
} port_t;

typedef struct conn {
    int fd, is_control, is_timed, wants_write;
    port_t *port;
    state_t state;
    char head[HEAD_BYTES]; /* also the line that says how large a chunk is */
    size_t head_size, left, sent, size;
    char control[256];
    ns_t began, due;
    double allowed; /* bytes that the sink may still read */
    struct conn *next, *before; /* of the timed ones */
} conn_t;

static int events_fd;
static conn_t *timed;
static char scratch[READ_BYTES];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static ns_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void set_timed(conn_t *conn, ns_t due) {
    conn->due = due;
    if (conn->is_timed) return;
    conn->is_timed = 1;
    conn->before = NULL;
    conn->next = timed;
    if (timed) timed->before = conn;
    timed = conn;
}

static void unset_timed(conn_t *conn) {
    if (!conn->is_timed) return;
    conn->is_timed = 0;
    if (conn->before) conn->before->next = conn->next;
    else timed = conn->next;
    if (conn->next) conn->next->before = conn->before;
}

static void drop(conn_t *conn) {
    unset_timed(conn);
    close(conn->fd);
    free(conn);
}

static void watch(conn_t *conn, unsigned interest) {
    struct epoll_event event = {.events = interest, .data.ptr = conn};
    epoll_ctl(events_fd, EPOLL_CTL_MOD, conn->fd, &event);
}

/* Write what is due; 0 if the connection is gone. */
static int answer(conn_t *conn) {
    port_t *port = conn->port;
    const char *from = conn->is_control ? conn->control : port->answer;
    size_t until = conn->size;
    if (port->pace && !conn->is_control) {
        double share = (double)(now() - conn->began) / port->pace;
        size_t due = port->head_size + (size_t)(share * (port->size - port->head_size));
        until = share >= 1 ? port->size : due;
    }
    while (conn->sent < until) {
        ssize_t count = write(conn->fd, from + conn->sent, until - conn->sent);
        if (count < 0 && errno == EAGAIN) {
            if (!conn->wants_write) watch(conn, EPOLLIN | EPOLLOUT);
            conn->wants_write = 1;
            unset_timed(conn);
            return 1;
        }
        if (count <= 0) {
            drop(conn);
            return 0;
        }
        conn->sent += count;
    }
    if (conn->wants_write) watch(conn, EPOLLIN);
    conn->wants_write = 0;
    if (conn->sent < conn->size) {
        set_timed(conn, now() + TICK_NS);
        return 1;
    }
    if (!conn->is_control) {
        port->last = now();
        port->answers++;
    }
    unset_timed(conn);
    conn->state = HEAD;
    conn->head_size = conn->sent = 0;
    return 1;
}

/* The request is complete; 0 if the connection is gone. */
static int respond(conn_t *conn) {
    port_t *port = conn->port;
    conn->is_control = !strncmp(conn->head, "GET ", 4);
    conn->sent = 0;
    conn->size = port->size;
    conn->began = now();
    conn->state = ANSWER;
    if (conn->is_control) {
        char body[128];
        int length = sprintf(body, "{\"requests\": %ld, \"answers\": %ld, \"last\": %lld}", port->requests, port->answers,
                             port->last);
        int is_known = !strncmp(conn->head, "GET /counts ", 12);
        conn->size = sprintf(conn->control, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s",
                             is_known ? "200 OK" : "404 Not Found", length, body);
        return answer(conn);
    }
    port->requests++;
    if (!port->delay) return answer(conn);
    conn->state = WAIT;
    set_timed(conn, conn->began + port->delay);
    return 1;
}

/* Read the head; how its body is framed follows from it. */
static void begin_body(conn_t *conn) {
    char *length = strcasestr(conn->head, "\r\ncontent-length:");
    conn->left = length ? strtoull(length + 17, NULL, 10) : 0;
    conn->state = BODY;
    if (strcasestr(conn->head, "\r\ntransfer-encoding: chunked")) conn->state = CHUNK_SIZE;
    if (strcasestr(conn->head, "\r\nexpect:")) (void)!write(conn->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

/* Take bytes of the head or of a line of chunked framing up to `end`; whether it is complete. */
static int line(conn_t *conn, char **at, char *end, const char *mark) {
    size_t size = strlen(mark);
    while (*at < end && conn->head_size + 1 < HEAD_BYTES) {
        conn->head[conn->head_size++] = *(*at)++;
        conn->head[conn->head_size] = 0;
        if (conn->head_size >= size && !memcmp(conn->head + conn->head_size - size, mark, size)) return 1;
    }
    return 0;
}

static size_t smaller(size_t one, size_t other) { return one < other ? one : other; }

/* Take what has been read; 0 if the connection is gone. */
static int take(conn_t *conn, char *at, char *end) {
    while (at < end || (conn->state == BODY && !conn->left)) {
        switch (conn->state) {
            case HEAD:
                if (!line(conn, &at, end, "\r\n\r\n")) return 1;
                begin_body(conn);
                break;
            case BODY:
            case CHUNK: {
                size_t count = smaller(conn->left, end - at);
                at += count;
                conn->left -= count;
                if (conn->left) return 1;
                conn->head_size = conn->state == BODY ? conn->head_size : 0;
                if (conn->state == BODY && !respond(conn)) return 0;
                if (conn->state == CHUNK) conn->state = CHUNK_END;
                break;
            }
            case CHUNK_SIZE:
                if (conn->head_size > 8 && !strncmp(conn->head, "POST", 4)) conn->head_size = 0;
                if (!line(conn, &at, end, "\r\n")) return 1;
                conn->left = strtoull(conn->head, NULL, 16);
                conn->head_size = 0;
                conn->state = conn->left ? CHUNK : TRAILER;
                break;
            case CHUNK_END:
            case TRAILER: {
                state_t was = conn->state;
                if (!line(conn, &at, end, "\r\n")) return 1;
                conn->head_size = 0;
                conn->head[0] = 0;
                conn->state = CHUNK_SIZE;
                if (was == TRAILER && !respond(conn)) return 0;
                break;
            }
            default: /* clients do not pipeline */
                drop(conn);
                return 0;
        }
    }
    return 1;
}

/* Read what is there, a sink only as much as it may; 0 if the connection is gone. */
static int receive(conn_t *conn) {
    double rate = conn->port->sink;
    for (;;) {
        size_t most = READ_BYTES;
        if (rate) {
            most = smaller(most, (size_t)conn->allowed);
            if (!most) {
                watch(conn, 0);
                if (!conn->is_timed) conn->began = now();
                set_timed(conn, now() + TICK_NS);
                return 1;
            }
        }
        ssize_t count = read(conn->fd, scratch, most);
        if (count < 0 && errno == EAGAIN) return 1;
        if (count <= 0) {
            drop(conn);
            return 0;
        }
        conn->allowed -= count;
        if (!take(conn, scratch, scratch + count)) return 0;
        if ((size_t)count < most) return 1;
    }
}

static void on_time(conn_t *conn, ns_t time) {
    if (conn->state == WAIT) {
        unset_timed(conn);
        conn->state = ANSWER;
        answer(conn);
    } else if (conn->state == ANSWER) {
        answer(conn);
    } else { /* a sink may continue to read */
        conn->allowed += conn->port->sink * (time - conn->began);
        conn->began = time;
        unset_timed(conn);
        watch(conn, EPOLLIN);
    }
}

static void run_timed(void) {
    ns_t time = now();
    for (conn_t *conn = timed, *next; conn; conn = next) {
        next = conn->next;
        if (conn->due <= time) on_time(conn, time);
    }
}

static int patience(void) {
    if (!timed) return -1;
    ns_t first = timed->due;
    for (conn_t *conn = timed; conn; conn = conn->next) first = conn->due < first ? conn->due : first;
    ns_t left = first - now();
    return left <= 0 ? 0 : (int)((left + 999999) / 1000000);
}

static void load(port_t *port, const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    fseek(file, 0, SEEK_END);
    size_t size = ftell(file);
    rewind(file);
    port->answer = malloc(size + 256);
    port->head_size = sprintf(port->answer,
                              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", size);
    if (fread(port->answer + port->head_size, 1, size, file) != size) fail(path);
    port->size = port->head_size + size;
    fclose(file);
}

static void listen_on(port_t *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port->port)};
    int yes = 1, small = 256 << 10;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    port->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(port->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (port->sink) setsockopt(port->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small); /* or the kernel is the sink */
    if (bind(port->fd, (struct sockaddr *)&address, sizeof address) || listen(port->fd, 4096)) fail("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = port};
    epoll_ctl(events_fd, EPOLL_CTL_ADD, port->fd, &event);
}

static void parse(port_t *port, char *spec) {
    char *path = NULL;
    port->port = atoi(strtok(spec, ","));
    for (char *word; (word = strtok(NULL, ","));) {
        if (!strncmp(word, "delay=", 6)) port->delay = atoll(word + 6) * 1000000;
        else if (!strncmp(word, "pace=", 5)) port->pace = atoll(word + 5) * 1000000;
        else if (!strncmp(word, "sink=", 5)) port->sink = atof(word + 5) / 1000;
        else path = word;
    }
    load(port, path);
    listen_on(port);
}

static void welcome(port_t *port) {
    int fd, yes = 1;
    while ((fd = accept4(port->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        conn_t *conn = calloc(1, sizeof *conn);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        conn->fd = fd;
        conn->port = port;
        conn->began = now();
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
        epoll_ctl(events_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void on_event(conn_t *conn, unsigned what) {
    if (what & (EPOLLERR | EPOLLHUP)) drop(conn);
    else if ((what & EPOLLIN) && !receive(conn)) return;
    else if ((what & EPOLLOUT) && conn->state == ANSWER) answer(conn);
}

int main(int count, char **words) {
    static struct epoll_event events[EVENTS];
    struct rlimit files;
    port_t *ports = calloc(count, sizeof *ports);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    events_fd = epoll_create1(0);
    for (int index = 1; index < count; index++) parse(&ports[index], words[index]);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int found = epoll_wait(events_fd, events, EVENTS, patience());
        for (int index = 0; index < found; index++) {
            void *what = events[index].data.ptr;
            if (what >= (void *)ports && what < (void *)(ports + count)) welcome(what);
            else on_event(what, events[index].events);
        }
        run_timed();
    }
}
