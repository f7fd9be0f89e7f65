/* Makes system calls fail on purpose. Preloaded (LD_PRELOAD) into the program under test.
 *
 *   FAULTS_PREFIX    only paths that begin with this are touched
 *   FAULTS_CONTROL   file with one rule a line, read anew whenever it has changed:
 *
 *       <call> <errno> <when> <part>
 *
 *   call   name of the call, with wildcards: fsync, f*sync, *write*, @(open|link); the names are write, writev,
 *          pwrite, pwritev2, fsync, fdatasync, ftruncate, fallocate, open (where it creates), link, rename, unlink, mkdir
 *   errno  number; 0 for fsync and fdatasync: say it was done, and do nothing; -N: take N milliseconds longer
 *   when   * every time, N the Nth time only, N+ from the Nth time on; counted for each rule since it was read
 *   part   wildcard pattern that the path matches: *, *-wal, *incoming*
 *
 * Every failure is a line "call path" in <FAULTS_CONTROL>.fired. Only what goes through libc is seen.
 *
 *   FAULTS_CLOCK     file with the seconds that the clock of the day is wrong by; without it the clock is right
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES 32
#define LIE INT_MIN

struct rule {
    char call[128], part[128];
    int error, from, and_on, seen;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[RULES];
static int count;
static struct timespec read_at;
static ino_t read_from;
static const char *prefix, *control, *clock_file;

#define REAL(name) ({ static __typeof__(&name) real_; if (!real_) real_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name); real_; })

__attribute__((constructor)) static void start(void) {
    prefix = getenv("FAULTS_PREFIX");
    control = getenv("FAULTS_CONTROL");
    clock_file = getenv("FAULTS_CLOCK");
}

/* The rules, when their file is another than last time. Raw calls only: ours are the ones under test. */
static void refresh(void) {
    struct stat now;
    char text[8192], *line, *rest = text;
    if (syscall(SYS_newfstatat, AT_FDCWD, control, &now, 0) != 0) {
        count = 0;
        read_from = 0;
        return;
    }
    if (now.st_ino == read_from && now.st_mtim.tv_sec == read_at.tv_sec && now.st_mtim.tv_nsec == read_at.tv_nsec)
        return;
    int fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    long length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (length < 0)
        return;
    text[length] = 0;
    read_from = now.st_ino;
    read_at = now.st_mtim;
    count = 0;
    while ((line = strsep(&rest, "\n")) && count < RULES) {
        struct rule *rule = &rules[count];
        char when[32];
        if (sscanf(line, "%127s %d %31s %127s", rule->call, &rule->error, when, rule->part) != 4)
            continue;
        rule->from = when[0] == '*' ? 1 : atoi(when);
        rule->and_on = when[0] == '*' || strchr(when, '+') != NULL;
        rule->seen = 0;
        count++;
    }
}

static int decide(const char *call, const char *path) {
    int error = 0;
    pthread_mutex_lock(&lock);
    refresh();
    for (int i = 0; i < count && !error; i++) {
        struct rule *rule = &rules[i];
        if (fnmatch(rule->call, call, FNM_EXTMATCH) != 0 || fnmatch(rule->part, path, 0) != 0)
            continue;
        rule->seen++;
        if (rule->seen == rule->from || (rule->and_on && rule->seen > rule->from))
            error = rule->error ? rule->error : LIE;
    }
    if (error) {
        char name[PATH_MAX], line[PATH_MAX + 64];
        snprintf(name, sizeof name, "%s.fired", control);
        int length = snprintf(line, sizeof line, "%s %s\n", call, path);
        int fd = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
            if (syscall(SYS_write, fd, line, (size_t)length) < 0) { /* then it is not in the list */ }
            syscall(SYS_close, fd);
        }
    }
    pthread_mutex_unlock(&lock);
    if (error >= 0 || error == LIE)
        return error;
    struct timespec delay = {-error / 1000, -error % 1000 * 1000000L};
    while (nanosleep(&delay, &delay) != 0 && errno == EINTR) { /* the rest of it */ }
    return 0;
}

/* Not 0 when the call on this path has to fail, with errno set, or has to lie. */
static int fails_at(const char *call, int dirfd, const char *path) {
    char full[2 * PATH_MAX];
    int before = errno, error;
    if (!prefix || !control || !path)
        return 0;
    if (path[0] != '/') {
        char name[64];
        if (dirfd == AT_FDCWD)
            snprintf(name, sizeof name, "/proc/self/cwd");
        else
            snprintf(name, sizeof name, "/proc/self/fd/%d", dirfd);
        long length = syscall(SYS_readlinkat, AT_FDCWD, name, full, (size_t)PATH_MAX);
        if (length < 0)
            return errno = before, 0;
        snprintf(full + length, sizeof full - (size_t)length, "/%s", path);
        path = full;
    }
    if (strncmp(path, prefix, strlen(prefix)) != 0)
        return errno = before, 0;
    error = decide(call, path);
    errno = error > 0 ? error : before;
    return error;
}

static int fails(const char *call, int fd) {
    char name[64], path[PATH_MAX + 1];
    int before = errno;
    if (!prefix || !control)
        return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, name, path, (size_t)PATH_MAX);
    errno = before;
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails_at(call, AT_FDCWD, path);
}

#define SYNC(name)                      \
    int name(int fd) {                  \
        int error = fails(#name, fd);   \
        if (error)                      \
            return error == LIE ? 0 : -1; \
        return REAL(name)(fd);          \
    }
SYNC(fsync)
SYNC(fdatasync)
ssize_t write(int fd, const void *data, size_t size) { return fails("write", fd) ? -1 : REAL(write)(fd, data, size); }
ssize_t writev(int fd, const struct iovec *parts, int n) { return fails("writev", fd) ? -1 : REAL(writev)(fd, parts, n); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return fails("pwrite", fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t pwritev2(int fd, const struct iovec *parts, int n, off_t at, int flags) {
    return fails("pwritev2", fd) ? -1 : REAL(pwritev2)(fd, parts, n, at, flags);
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int n, off64_t at, int flags) {
    return fails("pwritev2", fd) ? -1 : REAL(pwritev64v2)(fd, parts, n, at, flags);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails("pwrite", fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
int ftruncate(int fd, off_t size) { return fails("ftruncate", fd) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return fails("ftruncate", fd) ? -1 : REAL(ftruncate64)(fd, size); }
int fallocate(int fd, int mode, off_t at, off_t size) {
    return fails("fallocate", fd) ? -1 : REAL(fallocate)(fd, mode, at, size);
}
int fallocate64(int fd, int mode, off64_t at, off64_t size) {
    return fails("fallocate", fd) ? -1 : REAL(fallocate64)(fd, mode, at, size);
}
int posix_fallocate(int fd, off_t at, off_t size) { /* gives its error back, in errno it leaves nothing */
    return fails("fallocate", fd) ? errno : REAL(posix_fallocate)(fd, at, size);
}
int posix_fallocate64(int fd, off64_t at, off64_t size) {
    return fails("fallocate", fd) ? errno : REAL(posix_fallocate64)(fd, at, size);
}

/* An open counts only where it may make a file. */
#define OPEN(name, parameters, dirfd, call)                                            \
    int name parameters {                                                              \
        mode_t mode = 0;                                                               \
        if (flags & (O_CREAT | O_TMPFILE)) {                                           \
            va_list rest;                                                              \
            va_start(rest, flags);                                                     \
            mode = va_arg(rest, mode_t);                                               \
            va_end(rest);                                                              \
        }                                                                              \
        if ((flags & O_CREAT) && fails_at("open", dirfd, path))                        \
            return -1;                                                                 \
        return call;                                                                   \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD, REAL(open)(path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, REAL(open64)(path, flags, mode))
OPEN(openat, (int dirfd, const char *path, int flags, ...), dirfd, REAL(openat)(dirfd, path, flags, mode))
OPEN(openat64, (int dirfd, const char *path, int flags, ...), dirfd, REAL(openat64)(dirfd, path, flags, mode))

int link(const char *from, const char *to) { return fails_at("link", AT_FDCWD, to) ? -1 : REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    return fails_at("link", b, to) ? -1 : REAL(linkat)(a, from, b, to, flags);
}
int rename(const char *from, const char *to) { return fails_at("rename", AT_FDCWD, to) ? -1 : REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
    return fails_at("rename", b, to) ? -1 : REAL(renameat)(a, from, b, to);
}
int unlink(const char *path) { return fails_at("unlink", AT_FDCWD, path) ? -1 : REAL(unlink)(path); }
int unlinkat(int dirfd, const char *path, int flags) {
    return fails_at("unlink", dirfd, path) ? -1 : REAL(unlinkat)(dirfd, path, flags);
}
int mkdir(const char *path, mode_t mode) { return fails_at("mkdir", AT_FDCWD, path) ? -1 : REAL(mkdir)(path, mode); }
int mkdirat(int dirfd, const char *path, mode_t mode) {
    return fails_at("mkdir", dirfd, path) ? -1 : REAL(mkdirat)(dirfd, path, mode);
}

/* The clock of the day. The monotonic clocks stay right, as they do when somebody sets a computer's clock. */
static time_t wrong_by(void) {
    char text[32] = "";
    int before = errno, fd = clock_file ? (int)syscall(SYS_openat, AT_FDCWD, clock_file, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (syscall(SYS_read, fd, text, sizeof text - 1) < 0)
            text[0] = 0;
        syscall(SYS_close, fd);
    }
    errno = before;
    return (time_t)atol(text);
}
int clock_gettime(clockid_t which, struct timespec *at) {
    int failed = (int)syscall(SYS_clock_gettime, which, at);
    if (!failed && which == CLOCK_REALTIME)
        at->tv_sec += wrong_by();
    return failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}
