/* A disk that fails once: preloaded, it makes the k-th call on a file whose path contains a pattern
   fail, reaching SQLite too. Cut, a write stores half of its bytes, and the next one fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char pattern[256];
static long left, passed;
static int code, cut;

void fault_arm(const char *path, long k, int error, int half) {
    snprintf(pattern, sizeof pattern, "%s", path);
    code = error, cut = half, passed = 0, left = k;
}
long fault_passed(void) { return passed; }
long fault_left(void) { return left; }

static int due(const char *path) {
    if (!*pattern || !strstr(path, pattern)) return 0;
    __atomic_add_fetch(&passed, 1, __ATOMIC_SEQ_CST);
    return left > 0 && __atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST) == 0;
}
static int due_fd(int fd) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof name - 1);
    name[n < 0 ? 0 : n] = 0;
    return due(name);
}
#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAIL return errno = code, -1
#define WRITES(name, parameters, whole, half) \
    ssize_t name parameters { REAL(name); \
        if (!due_fd(fd)) return real whole; \
        if (cut && n > 1) { cut = 0, left = 1; return real half; } \
        FAIL; }
#define FAILS(name, parameters, whole, here) int name parameters { REAL(name); if (here) FAIL; return real whole; }

WRITES(write, (int fd, const void *b, size_t n), (fd, b, n), (fd, b, n / 2))
WRITES(pwrite, (int fd, const void *b, size_t n, off_t at), (fd, b, n, at), (fd, b, n / 2, at))
WRITES(pwrite64, (int fd, const void *b, size_t n, off64_t at), (fd, b, n, at), (fd, b, n / 2, at))
FAILS(fsync, (int fd), (fd), due_fd(fd))
FAILS(fdatasync, (int fd), (fd), due_fd(fd))
FAILS(ftruncate, (int fd, off_t n), (fd, n), due_fd(fd))
FAILS(ftruncate64, (int fd, off64_t n), (fd, n), due_fd(fd))
FAILS(rename, (const char *a, const char *b), (a, b), due(b))
