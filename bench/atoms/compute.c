/* The work as an atom: `sha 100` to `go` does a hundred pieces, each a dispatch of its
 * own, and emits the last number. */
#include "atoll.h"
#include "work.h"

ATOLL_ATOM("ctl go\nnext done 4096\n")

enum { GO, DONE };

static uint32_t kind, left;
static uint64_t seed;

static int32_t go_on(void) {
    char text[16];
    if (left == 0) {
        hex(seed, text);
        return atoll_emit(DONE, text, sizeof text);
    }
    left--;
    seed = piece(kind, seed);
    return atoll_send(atoll_me(), 0, 0);
}

ATOLL_EXPORT(invoke) int32_t invoke(int32_t what, int64_t id, int32_t len) {
    char line[64];
    (void)id;
    switch (what) {
    case ATOLL_START:
    case ATOLL_WATCHED:
        return 0;
    case ATOLL_MESSAGE:
        return go_on();
    case ATOLL_COMMAND: {
        int32_t got = atoll_recv(line, sizeof line, 0);
        uint32_t n;
        int found = got == len ? wanted(line, (uint32_t)got, &n) : -1;
        if (found < 0) return -ATOLL_EINVAL;
        kind = (uint32_t)found;
        left = n;
        seed = 1;
        return atoll_send(atoll_me(), 0, 0);
    }
    default:
        return -ATOLL_EOPNOTSUPP;
    }
}
