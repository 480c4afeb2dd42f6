/* A counter: `add N` to ctl, count shows it, events has a line for each change, and the
 * command `later N` adds N in a second. */
#include "atoll.h"

ATOLL_ATOM("text count\nctl ctl\nevents events 4096\n")

enum { COUNT, CTL, EVENTS };
enum { SECOND = 1000000000, PENDING = 16 };

static int64_t count;
/* The futures that wait, and what each is to add. */
static struct {
    int64_t future;
    int64_t add;
} pending[PENDING];

/* A number in decimal, at the end of a buffer. */
static uint32_t decimal(int64_t n, char *buffer, uint32_t size) {
    uint32_t at = size;
    uint64_t rest = n < 0 ? -(uint64_t)n : (uint64_t)n;
    do {
        buffer[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (n < 0) buffer[--at] = '-';
    return at;
}

static int32_t add(int64_t n) {
    char text[24];
    int64_t sum;
    if (__builtin_add_overflow(count, n, &sum)) return -ATOLL_EINVAL;
    uint32_t at = decimal(sum, text, sizeof text);
    int32_t result = atoll_emit(EVENTS, text + at, sizeof text - at);
    if (result < 0) return result;
    count = sum;
    return 0;
}

static int32_t later(int64_t n) {
    for (int i = 0; i < PENDING; i++) {
        if (pending[i].future == 0) {
            int64_t future = atoll_sleep(SECOND);
            if (future < 0) return (int32_t)future;
            pending[i].future = future;
            pending[i].add = n;
            return 0;
        }
    }
    return -ATOLL_ENOSPC;
}

/* Whether the line begins with the verb; then the number behind it. */
static int parse(const char *line, int32_t len, const char *verb, int64_t *number) {
    int32_t i = 0;
    for (; verb[i] != 0; i++) {
        if (i >= len || line[i] != verb[i]) return 0;
    }
    int negative = i < len && line[i] == '-';
    int64_t n = 0;
    i += negative;
    if (i >= len) return 0;
    for (; i < len; i++) {
        if (line[i] < '0' || line[i] > '9') return 0;
        if (n > (INT64_MAX - 9) / 10) return 0;
        n = n * 10 + (line[i] - '0');
    }
    *number = negative ? -n : n;
    return 1;
}

static int32_t refuse(const char *usage, uint32_t len) {
    atoll_answer(usage, len);
    return -ATOLL_EINVAL;
}

ATOLL_EXPORT(invoke) int32_t invoke(int32_t kind, int64_t id, int32_t len) {
    char line[64];
    int64_t n;
    switch (kind) {
    case ATOLL_START:
    case ATOLL_WATCHED:
        return 0;
    case ATOLL_READ: {
        line[sizeof line - 1] = '\n';
        uint32_t at = decimal(count, line, sizeof line - 1);
        return atoll_answer(line + at, sizeof line - at);
    }
    case ATOLL_COMMAND: {
        static const char usage[] = "add N | later N";
        int32_t got = atoll_recv(line, sizeof line, 0);
        if (got < 0) return got;
        if (got == len && parse(line, got, "add ", &n)) return add(n);
        if (got == len && parse(line, got, "later ", &n)) return later(n);
        return refuse(usage, sizeof usage - 1);
    }
    default:
        (void)id;
        return -ATOLL_EOPNOTSUPP;
    }
}

ATOLL_EXPORT(future) int32_t future(int64_t id, int32_t status, int32_t len) {
    (void)status;
    (void)len;
    for (int i = 0; i < PENDING; i++) {
        if (pending[i].future == id) {
            pending[i].future = 0;
            return add(pending[i].add);
        }
    }
    return 0;
}
