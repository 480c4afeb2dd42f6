/* Messages between atoms. A line to `go` of the atom that is asked starts one of these,
 * so many times, and a line of `done` says what came out of it:
 *
 *     one N      N messages to `b`, which adds up what they say
 *     ask N      N asks of `b`, one after the other, each answered with one more
 *     make N     spawns a ring of N atoms
 *     ring N     a message that takes N steps in that ring
 *     spawn N    spawns an atom that says so and ends, N times, one after the other
 */
#include "atoll.h"

ATOLL_ATOM("ctl go\nnext done 4096\n")

enum { GO, DONE };
enum { IDLE, ONE, ASK, MAKE, RING, SPAWN };
/* Messages of one dispatch, and spawns: it must end in time. */
enum { BATCH = 256, BORN = 16 };

static uint32_t doing, left, made;
static uint64_t sum;
/* The other one; the next one in the ring; the ring's first and last. */
static int32_t b = -1, next, first, last;

static int32_t done(uint64_t n) {
    char text[16];
    for (int i = 0; i < 16; i++) text[i] = "0123456789abcdef"[n >> (60 - 4 * i) & 15];
    doing = IDLE;
    return atoll_emit(DONE, text, sizeof text);
}

/* A name of a letter and four digits. */
static int32_t spawn(char letter, uint32_t n, const void *params, uint32_t len) {
    char name[5] = { letter, '0', '0', '0', '0' };
    for (int i = 4; i > 0; i--, n /= 10) name[i] = (char)('0' + n % 10);
    return atoll_spawn(name, sizeof name, params, len);
}

static int32_t again(void) { return atoll_send(atoll_me(), 0, 0); }

static int32_t asks(uint64_t n) {
    int64_t future = atoll_call(b, &n, sizeof n);
    return future < 0 ? (int32_t)future : 0;
}

/* The next part of what is being done. */
static int32_t step(void) {
    int32_t me, new;
    switch (doing) {
    case ONE:
        if (left == 0) return asks(UINT64_MAX);
        for (uint32_t i = 0; i < BATCH && left > 0; i++) {
            uint64_t n = left--;
            int32_t sent = atoll_send(b, &n, sizeof n);
            if (sent < 0) return sent;
        }
        return again();
    case MAKE:
        for (uint32_t i = 0; i < BORN && left > 0; i++, left--) {
            new = spawn('r', made++, 0, 0);
            if (new < 0) return new;
            if (made == 1) first = new;
            else atoll_send(last, &new, sizeof new);
            last = new;
        }
        if (left > 0) return again();
        atoll_send(last, &first, sizeof first);
        return done(made);
    case SPAWN:
        if (left == 0) return done(sum);
        left--;
        me = atoll_me();
        new = spawn('s', 0, &me, sizeof me);
        return new < 0 ? new : 0;
    default:
        return -ATOLL_EINVAL;
    }
}

static int32_t message(int32_t len) {
    uint64_t n;
    if (len == 8) {
        int32_t got = atoll_recv(&n, sizeof n, 0);
        if (got < 0) return got;
        /* A token of the ring: steps to go, and what they were all told. */
        if (next != 0) {
            uint32_t steps = (uint32_t)n, told = (uint32_t)(n >> 32);
            n = (uint64_t)(told * 3 + 1) << 32 | (steps - 1);
            return atoll_send(steps == 1 ? atoll_find("a", 1) : next, &n, sizeof n);
        }
        if (doing == RING) return done(n >> 32);
        sum += n;
        return 0;
    }
    if (len == 4) return atoll_recv(&next, sizeof next, 0);
    if (len == 1) sum++;
    return step();
}

static int32_t start(int32_t len) {
    int32_t parent;
    if (len != sizeof parent) return 0;
    atoll_recv(&parent, sizeof parent, 0);
    int32_t sent = atoll_send(parent, "!", 1);
    return sent < 0 ? sent : atoll_kill(atoll_me());
}

static int32_t command(int32_t len) {
    static const char *const names[] = { "", "one ", "ask ", "make ", "ring ", "spawn " };
    char line[64];
    int32_t got = atoll_recv(line, sizeof line, 0), at = 0;
    if (got < 0) return got;
    if (got != len || doing != IDLE) return -ATOLL_EINVAL;
    for (doing = SPAWN; doing > IDLE; doing--) {
        for (at = 0; names[doing][at] != 0 && at < got && line[at] == names[doing][at];) at++;
        if (names[doing][at] == 0) break;
    }
    if (doing == IDLE) return -ATOLL_EINVAL;
    for (left = 0; at < got; at++) left = left * 10 + (uint32_t)(line[at] - '0');
    sum = 0;
    b = atoll_find("b", 1);
    if (doing == ASK) return asks(0);
    if (doing == RING) {
        uint64_t n = left;
        return atoll_send(first, &n, sizeof n);
    }
    return again();
}

ATOLL_EXPORT(invoke) int32_t invoke(int32_t kind, int64_t id, int32_t len) {
    switch (kind) {
    case ATOLL_START:
        return start(len);
    case ATOLL_WATCHED:
        return 0;
    case ATOLL_MESSAGE:
        return message(len);
    case ATOLL_ASK: {
        uint64_t n;
        int32_t got = atoll_recv(&n, sizeof n, 0);
        if (got < 0) return got;
        /* Who has been sent messages says what they said. */
        if (n == UINT64_MAX) n = sum, sum = 0;
        else n++;
        return atoll_reply(id, 0, &n, sizeof n);
    }
    case ATOLL_COMMAND:
        return command(len);
    default:
        return -ATOLL_EOPNOTSUPP;
    }
}

ATOLL_EXPORT(future) int32_t future(int64_t id, int32_t status, int32_t len) {
    uint64_t n;
    (void)id;
    if (status < 0 || len != 8) return -ATOLL_EIO;
    int32_t got = atoll_recv(&n, sizeof n, 0);
    if (got < 0) return got;
    if (doing == ASK && n < left) return asks(n);
    return done(n);
}
