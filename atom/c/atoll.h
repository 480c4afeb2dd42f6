/* Atoms in C: the ABI of atom/ABI.md, version 1.
 *
 * An atom is one .c file, or some, without a C library:
 *
 *     clang --target=wasm32-unknown-unknown -O3 -nostdlib -ffreestanding \
 *         -msimd128 -mbulk-memory -mnontrapping-fptoint \
 *         -Wl,--no-entry -I atom/c -o counter.wasm counter.c
 *
 * It defines atoll_invoke, and atoll_interrupt and atoll_future if it has a use for them
 * (each with ATOLL_EXPORT, see counter.c), and declares its files with ATOLL_FILES.
 * Results below 0 are -errno. */
#ifndef ATOLL_H
#define ATOLL_H

#include <stdint.h>

#define ATOLL_ABI 1

/* A function that the runtime calls, under that name. */
#define ATOLL_EXPORT(name) __attribute__((export_name(#name)))
/* A function of the runtime's. The names in C have a prefix, since some of those in the
 * ABI are C's own. */
#define ATOLL_IMPORT(name) \
    __attribute__((import_module("atoll"), import_name(#name))) extern

/* The section atoll.files, and the version; once in an atom.
 *     ATOLL_ATOM("text count\nctl ctl\nevents events 4096\n") */
#define ATOLL_ATOM(files)                                                   \
    __asm__(".section .custom_section.atoll.files,\"\",@\n"                 \
            ".ascii " ATOLL_QUOTE(files) "\n"                               \
            ".text\n");                                                     \
    ATOLL_EXPORT(atoll_abi) int32_t atoll_abi(void) { return ATOLL_ABI; }
#define ATOLL_QUOTE(text) #text

/* Kinds of invoke (section 4). */
enum {
    ATOLL_START = 1,
    ATOLL_MESSAGE = 2,
    ATOLL_ASK = 3,
    ATOLL_READ = 4,
    ATOLL_COMMAND = 5,
    ATOLL_WATCHED = 6,
    ATOLL_NAMES = 7,
    ATOLL_GET = 8,
    ATOLL_PUT = 9,
    ATOLL_REMOVE = 10,
};

/* The interrupt that says: the guest goes on from a checkpoint (section 5). */
#define ATOLL_RESTORED 63

/* Limits (section 7). */
enum {
    ATOLL_MAX_BODY = 65536,
    ATOLL_MAX_ANSWER = 1048576,
    ATOLL_MAX_LINE = 4096,
    ATOLL_MAX_LOG = 1024,
    ATOLL_MAX_PARAMS = 4096,
    ATOLL_MAX_NAME = 63,
    ATOLL_MAX_KEY = 255,
    ATOLL_MAX_PATH = 1024,
    ATOLL_SCRATCH = 65536,
    ATOLL_LOCKS = 256,
};

/* Errors (section 9). */
enum {
    ATOLL_EPERM = 1,
    ATOLL_ENOENT = 2,
    ATOLL_EIO = 5,
    ATOLL_EBADF = 9,
    ATOLL_EFAULT = 14,
    ATOLL_EEXIST = 17,
    ATOLL_EINVAL = 22,
    ATOLL_EFBIG = 27,
    ATOLL_ENOSPC = 28,
    ATOLL_EPIPE = 32,
    ATOLL_ENAMETOOLONG = 36,
    ATOLL_EMSGSIZE = 90,
    ATOLL_EOPNOTSUPP = 95,
    ATOLL_ETIMEDOUT = 110,
    ATOLL_ESTALE = 116,
    ATOLL_EDQUOT = 122,
    ATOLL_ECANCELED = 125,
};

/* Imports (section 6). An int64_t that is a future is above 0. */
ATOLL_IMPORT(recv) int32_t atoll_recv(void *to, uint32_t cap, uint32_t from);
ATOLL_IMPORT(answer) int32_t atoll_answer(const void *text, uint32_t len);
ATOLL_IMPORT(now) int64_t atoll_now(void);
ATOLL_IMPORT(wall) int64_t atoll_wall(void);
ATOLL_IMPORT(random) int64_t atoll_random(void);
ATOLL_IMPORT(log) int32_t atoll_log(const void *line, uint32_t len);
ATOLL_IMPORT(emit) int32_t atoll_emit(uint32_t file, const void *line, uint32_t len);
ATOLL_IMPORT(exit) void atoll_exit(int32_t status);

ATOLL_IMPORT(me) int32_t atoll_me(void);
ATOLL_IMPORT(sender) int32_t atoll_sender(void);
ATOLL_IMPORT(find) int32_t atoll_find(const void *name, uint32_t len);
ATOLL_IMPORT(register) int32_t atoll_register(const void *name, uint32_t len);
ATOLL_IMPORT(send) int32_t atoll_send(int32_t to, const void *body, uint32_t len);
ATOLL_IMPORT(call) int64_t atoll_call(int32_t to, const void *body, uint32_t len);
ATOLL_IMPORT(reply)
int32_t atoll_reply(int64_t token, int32_t status, const void *body, uint32_t len);
ATOLL_IMPORT(signal) int32_t atoll_signal(int32_t to, uint32_t code, int64_t arg);
ATOLL_IMPORT(mask) uint64_t atoll_mask(uint64_t bits);
ATOLL_IMPORT(unmask) uint64_t atoll_unmask(uint64_t bits);
ATOLL_IMPORT(spawn)
int32_t atoll_spawn(const void *name, uint32_t len, const void *params, uint32_t params_len);
ATOLL_IMPORT(kill) int32_t atoll_kill(int32_t to);

ATOLL_IMPORT(sleep) int64_t atoll_sleep(int64_t ns);
ATOLL_IMPORT(drop_future) int32_t atoll_drop_future(int64_t id);

ATOLL_IMPORT(file_read)
int64_t atoll_file_read(const void *path, uint32_t len, int64_t from, uint32_t count);
ATOLL_IMPORT(file_write)
int64_t atoll_file_write(const void *path, uint32_t len, int64_t from, const void *data,
                         uint32_t data_len);
ATOLL_IMPORT(file_list) int64_t atoll_file_list(const void *path, uint32_t len);
ATOLL_IMPORT(file_stat) int64_t atoll_file_stat(const void *path, uint32_t len);
ATOLL_IMPORT(open) int64_t atoll_open(const void *path, uint32_t len, uint32_t flags);
ATOLL_IMPORT(walk)
int64_t atoll_walk(uint32_t fd, const void *path, uint32_t len, uint32_t flags);
ATOLL_IMPORT(read) int64_t atoll_read(uint32_t fd, int64_t from, uint32_t count);
ATOLL_IMPORT(write)
int64_t atoll_write(uint32_t fd, int64_t from, const void *data, uint32_t len);
ATOLL_IMPORT(stat) int64_t atoll_stat(uint32_t fd);
ATOLL_IMPORT(close) int32_t atoll_close(uint32_t fd);

ATOLL_IMPORT(kv_get)
int32_t atoll_kv_get(const void *key, uint32_t len, void *to, uint32_t cap);
ATOLL_IMPORT(kv_put)
int32_t atoll_kv_put(const void *key, uint32_t len, const void *value, uint32_t value_len);
ATOLL_IMPORT(kv_del) int32_t atoll_kv_del(const void *key, uint32_t len);
ATOLL_IMPORT(kv_next)
int32_t atoll_kv_next(const void *key, uint32_t len, void *to, uint32_t cap);
ATOLL_IMPORT(log_append) int64_t atoll_log_append(const void *record, uint32_t len);
ATOLL_IMPORT(log_read) int32_t atoll_log_read(int64_t number, void *to, uint32_t cap);
ATOLL_IMPORT(sync) int64_t atoll_sync(void);

ATOLL_IMPORT(scratch_read) int32_t atoll_scratch_read(uint32_t at, void *to, uint32_t len);
ATOLL_IMPORT(scratch_write)
int32_t atoll_scratch_write(uint32_t at, const void *from, uint32_t len);
ATOLL_IMPORT(scratch_add) int32_t atoll_scratch_add(uint32_t at, int64_t add, uint64_t *old);
ATOLL_IMPORT(scratch_cas)
int32_t atoll_scratch_cas(uint32_t at, int64_t expected, int64_t wanted, uint64_t *old);
ATOLL_IMPORT(lock) int64_t atoll_lock(uint32_t number, uint32_t shared);
ATOLL_IMPORT(unlock) int32_t atoll_unlock(uint32_t number);

#endif
