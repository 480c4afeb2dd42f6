/* The work as a program: takes the same lines on descriptor 3, and answers on 4. */
#include <unistd.h>

#include "work.h"

int main(void) {
    char line[64], text[17];
    for (;;) {
        ssize_t got = read(3, line, sizeof line);
        uint32_t n;
        if (got <= 0) return 0;
        int kind = wanted(line, (uint32_t)got, &n);
        if (kind < 0) return 1;
        uint64_t seed = 1;
        while (n-- > 0) seed = piece((uint32_t)kind, seed);
        hex(seed, text);
        text[16] = '\n';
        if (write(4, text, sizeof text) != (ssize_t)sizeof text) return 1;
    }
}
