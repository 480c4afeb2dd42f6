/* Four kinds of work, each the same wherever it is compiled for: `piece` does about half
 * a millisecond of one of them and gives a number that depends on all of it. The next
 * piece begins with that number, so that none of them can be left out.
 *
 * No library is used, since an atom has none. */
#ifndef WORK_H
#define WORK_H

#include <stdint.h>

enum { SHA, SIEVE, NBODY, FIB };

/* SHA-256 of FIPS 180-4, over blocks that are made of the digest before. */
static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t rotated(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha_block(uint32_t h[8], const uint32_t block[16]) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) w[i] = block[i];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        uint32_t s0 = rotated(a, 7) ^ rotated(a, 18) ^ a >> 3;
        uint32_t s1 = rotated(b, 17) ^ rotated(b, 19) ^ b >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], k = h[7];
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
        uint32_t t1 = k + s1 + ((e & f) ^ (~e & g)) + sha_k[i] + w[i];
        uint32_t s0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        k = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += k;
}

static uint64_t sha(uint64_t seed) {
    uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    uint32_t block[16];
    for (uint32_t i = 0; i < 16; i++) block[i] = (uint32_t)(seed >> (i % 2 * 32)) + i;
    for (int n = 0; n < 2000; n++) {
        sha_block(h, block);
        for (int i = 0; i < 8; i++) block[i] ^= h[i];
    }
    return (uint64_t)h[0] << 32 | h[1];
}

/* The primes below a bound that depends a little on the seed, by Eratosthenes. */
enum { SIEVED = 1 << 18 };
static union {
    uint8_t is[SIEVED];
    uint64_t words[SIEVED / 8];
} composite;

static uint64_t sieve(uint64_t seed) {
    uint32_t below = SIEVED - (uint32_t)(seed % 64), count = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < SIEVED / 8; i++) composite.words[i] = 0;
    for (uint32_t i = 2; i < below; i++) {
        if (composite.is[i]) continue;
        count++;
        sum += i;
        for (uint32_t j = 2 * i; j < below; j += i) composite.is[j] = 1;
    }
    return sum << 20 ^ count;
}

/* Five bodies that attract each other, in double precision. Additions and
 * multiplications only in the order written, so that all results are the same. */
struct body {
    double x, y, z, vx, vy, vz, mass;
};

static uint64_t nbody(uint64_t seed) {
    struct body all[5];
    for (int i = 0; i < 5; i++) {
        double at = (double)(i + 1), off = (double)(seed >> (i * 8) & 0xff) / 1024.0;
        struct body b = { at + off, at * 1.5 - off, off, 0.1 * at, -0.05 * at, 0.02, 1.0 / at };
        all[i] = b;
    }
    for (int step = 0; step < 5000; step++) {
        for (int i = 0; i < 5; i++) {
            struct body *a = &all[i];
            for (int j = i + 1; j < 5; j++) {
                struct body *b = &all[j];
                double dx = a->x - b->x, dy = a->y - b->y, dz = a->z - b->z;
                double square = dx * dx + dy * dy + dz * dz + 0.01;
                double pull = 0.001 / (square * __builtin_sqrt(square));
                a->vx -= dx * b->mass * pull;
                a->vy -= dy * b->mass * pull;
                a->vz -= dz * b->mass * pull;
                b->vx += dx * a->mass * pull;
                b->vy += dy * a->mass * pull;
                b->vz += dz * a->mass * pull;
            }
        }
        for (int i = 0; i < 5; i++) {
            all[i].x += 0.001 * all[i].vx;
            all[i].y += 0.001 * all[i].vy;
            all[i].z += 0.001 * all[i].vz;
        }
    }
    union {
        double number;
        uint64_t bits;
    } last = { all[0].x + all[1].y + all[2].z };
    return last.bits;
}

/* Calls, and nothing else. Not inlined into itself: how far a compiler goes with that
 * would be all that is measured. */
__attribute__((noinline)) static uint32_t fib(uint32_t n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t piece(uint32_t kind, uint64_t seed) {
    switch (kind) {
    case SHA: return sha(seed);
    case SIEVE: return sieve(seed);
    case NBODY: return nbody(seed);
    default: return seed * 31 + fib(26 + (uint32_t)(seed & 1));
    }
}

/* How the kind is called that a line begins with; the number behind it. -1 for others. */
static int wanted(const char *line, uint32_t len, uint32_t *number) {
    static const char *const names[] = { "sha", "sieve", "nbody", "fib" };
    for (int kind = 0; kind < 4; kind++) {
        uint32_t i = 0;
        while (names[kind][i] != 0 && i < len && line[i] == names[kind][i]) i++;
        if (names[kind][i] != 0 || i + 1 >= len || line[i] != ' ') continue;
        uint32_t n = 0;
        for (i++; i < len && line[i] >= '0' && line[i] <= '9'; i++) n = n * 10 + (uint32_t)(line[i] - '0');
        *number = n;
        return kind;
    }
    return -1;
}

/* A number in hexadecimal. */
static void hex(uint64_t n, char text[16]) {
    for (int i = 0; i < 16; i++) text[i] = "0123456789abcdef"[n >> (60 - 4 * i) & 15];
}

#endif
