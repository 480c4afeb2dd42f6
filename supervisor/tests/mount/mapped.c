/* Maps a file with MAP_SHARED, which no tool of a shell does.
 *
 *   mapped read FILE               prints what the mapping shows
 *   mapped write FILE TEXT         puts TEXT over the beginning
 *   mapped grow FILE LENGTH TEXT   the same, after giving it that length
 *
 * What fails is told by its number's name on standard output, with status 1. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(int good) {
    if (good)
        return;
    if (errno == EINVAL)
        puts("EINVAL");
    else if (errno == ENODEV)
        puts("ENODEV");
    else
        puts(strerror(errno));
    exit(1);
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    int reads = !strcmp(argv[1], "read"), grows = !strcmp(argv[1], "grow");
    if (argc != 3 + !reads + grows)
        return 2;
    int flags = reads ? O_RDONLY : O_RDWR;
    int fd = open(argv[2], flags);
    check(fd >= 0);
    if (grows)
        check(ftruncate(fd, atol(argv[3])) == 0);
    struct stat st;
    check(fstat(fd, &st) == 0);
    int how = reads ? PROT_READ : PROT_READ | PROT_WRITE;
    char *at = mmap(NULL, st.st_size, how, MAP_SHARED, fd, 0);
    check(at != MAP_FAILED);
    if (reads) {
        check(fwrite(at, 1, st.st_size, stdout) == (size_t)st.st_size);
    } else {
        memcpy(at, argv[argc - 1], strlen(argv[argc - 1]));
        check(msync(at, st.st_size, MS_SYNC) == 0);
    }
    check(munmap(at, st.st_size) == 0);
    check(close(fd) == 0);
    return fflush(stdout) != 0;
}
