/* A memory of 4 MiB. `dirty N` to `go` writes N of its pages of 4 KiB, spread over all of it,
 * with numbers that do not pack; a line of `done` says how many it wrote. */
#include "atoll.h"

ATOLL_ATOM("ctl go\nnext done 4096\n")

enum { GO, DONE };
enum { PAGE = 4096 / 8, PAGES = 1000 };

/* Known outside: what nobody reads would not be written. */
__attribute__((aligned(4096))) uint64_t held[PAGES][PAGE];
static uint64_t seed = 88172645463325252u;

static int32_t dirty(uint32_t n) {
    char text[16];
    for (uint32_t i = 0; i < n; i++) {
        uint64_t *page = held[i * PAGES / n];
        for (int at = 0; at < PAGE; at++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            page[at] = seed;
        }
    }
    for (int i = 0; i < 16; i++) text[i] = "0123456789abcdef"[(uint64_t)n >> (60 - 4 * i) & 15];
    return atoll_emit(DONE, text, sizeof text);
}

ATOLL_EXPORT(invoke) int32_t invoke(int32_t what, int64_t id, int32_t len) {
    char line[32];
    uint32_t n = 0;
    (void)id;
    if (what == ATOLL_START || what == ATOLL_WATCHED) return 0;
    if (what != ATOLL_COMMAND) return -ATOLL_EOPNOTSUPP;
    int32_t got = atoll_recv(line, sizeof line, 0);
    /* The word is `dirty`, the only one. */
    if (got != len || got < 7) return -ATOLL_EINVAL;
    for (int32_t i = 6; i < got; i++) {
        if (line[i] < '0' || line[i] > '9') return -ATOLL_EINVAL;
        n = n * 10 + (uint32_t)(line[i] - '0');
    }
    return n >= 1 && n <= PAGES ? dirty(n) : -ATOLL_EINVAL;
}
