/* Put before the C library (LD_PRELOAD): reads of files hang while $FAULTS/hang exists, flushes fail while
   $FAULTS/fail exists, and every flush adds a byte to $FAULTS/flushes if that exists. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *fault(const char *name) {
    static __thread char path[4096];
    const char *folder = getenv("FAULTS");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "/nonexistent", name);
    return path;
}

static void hang(void) {
    while (access(fault("hang"), F_OK) == 0) usleep(2000);
}

ssize_t pread64(int fd, void *to, size_t count, off64_t at) {
    static ssize_t (*real)(int, void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pread64");
    hang();
    return real(fd, to, count, at);
}

ssize_t pread(int fd, void *to, size_t count, off_t at) {
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pread");
    hang();
    return real(fd, to, count, at);
}

static int flush(int fd, int (*real)(int)) {
    int log = open(fault("flushes"), O_WRONLY | O_APPEND);
    if (log >= 0) {
        if (write(log, ".", 1) != 1) abort();
        close(log);
    }
    if (access(fault("fail"), F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    return flush(fd, real);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    return flush(fd, real);
}
