/*
 * What xenstored asks of Xen when it starts, answered by nobody: that there is a domain 0,
 * that its page and its port can be had, and that nothing ever happens to any domain.
 * Loaded before Xen's libraries, so that a xenstored can serve its socket without Xen.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static char handle;

/* libxenctrl */
void *xc_interface_open(void *log, void *dlog, unsigned flags) { return &handle; }
int xc_interface_close(void *h) { return 0; }
/* The domain's number, its label, and flags: neither dying nor shut down. */
int xc_domain_getinfo(void *h, unsigned first, unsigned max, unsigned *info)
{
    info[0] = first;
    info[1] = info[2] = 0;
    return 1;
}

/* libxengnttab */
void *xengnttab_open(void *log, unsigned flags) { return &handle; }
int xengnttab_close(void *h) { return 0; }
int xengnttab_set_max_grants(void *h, unsigned count) { return 0; }
void *xengnttab_map_grant_ref(void *h, unsigned domid, unsigned ref, int prot) { return 0; }
int xengnttab_unmap(void *h, void *at, unsigned count) { return 0; }

/* libxenevtchn: a descriptor that is never readable. */
void *xenevtchn_open(void *log, unsigned flags) { return &handle; }
int xenevtchn_fd(void *h)
{
    static int fd = -1;
    if (fd < 0)
        fd = eventfd(0, EFD_CLOEXEC);
    return fd;
}
int xenevtchn_bind_virq(void *h, unsigned virq) { return 1; }
int xenevtchn_bind_interdomain(void *h, int domid, unsigned port) { return 2; }
int xenevtchn_unbind(void *h, unsigned port) { return 0; }
int xenevtchn_notify(void *h, unsigned port) { return 0; }
int xenevtchn_pending(void *h) { return -1; }
int xenevtchn_unmask(void *h, unsigned port) { return 0; }

/* Where Linux's xenbus says which port and page are dom0's own. */
int open(const char *path, int flags, ...)
{
    va_list args;
    int mode, fd;

    if (!strcmp(path, "/proc/xen/xsd_port") && (fd = memfd_create("port", 0)) >= 0) {
        if (write(fd, "1", 1) == 1 && lseek(fd, 0, SEEK_SET) == 0)
            return fd;
        return -1;
    }
    if (!strcmp(path, "/proc/xen/xsd_kva") && (fd = memfd_create("page", 0)) >= 0)
        return ftruncate(fd, 4096) ? -1 : fd;
    va_start(args, flags);
    mode = va_arg(args, int);
    va_end(args);
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
