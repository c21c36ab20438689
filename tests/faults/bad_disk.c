/* Stands between a program and its disk (LD_PRELOAD). It is bad in one way or another while the file exists that the
   environment variable of that way names: DISK_IS_SLOW, SYNC_FAILS, DISK_IS_READ_ONLY, QUOTA_IS_USED_UP,
   LOG_HAS_NO_ROOM. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))
#define CREATES (O_CREAT | O_EXCL | O_TRUNC)

static int is_there(const char *name) { const char *path = getenv(name); return path && access(path, F_OK) == 0; }
static int is_file(int fd) { struct stat s; return fd > 2 && fstat(fd, &s) == 0 && S_ISREG(s.st_mode); }
static unsigned draw(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (unsigned)(now.tv_nsec / 97 * 2654435761u) >> 8;
}
static void wait_for_disk(int fd, unsigned one_in) {
    if (!is_there("DISK_IS_SLOW") || !is_file(fd) || draw() % one_in) return;
    struct timespec pause = {0, (20 + draw() % 280) * 1000000L};
    nanosleep(&pause, 0);
}
static int fails_with(int code) { errno = code; return 1; }
static int is_read_only(void) { return is_there("DISK_IS_READ_ONLY") && fails_with(EROFS); }
static int is_log(int fd) {
    char link[64], name[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, name, sizeof name - 1);
    if (size < 0) return 0;
    name[size] = 0;
    return strstr(name, "/agentdash.log") != 0;
}
static int sync_is_refused(int fd) {
    if (!is_file(fd)) return 0;
    return is_read_only() || (is_there("SYNC_FAILS") && draw() % 4 == 0 && fails_with(EIO));
}
/* A quota counts blocks and inodes: what lies there may be written over, read and removed, nothing grows or is made. */
static int has_no_quota(void) { return is_there("QUOTA_IS_USED_UP") && fails_with(EDQUOT); }
static int grows(int fd, off_t end) { struct stat s; return fstat(fd, &s) == 0 && end > s.st_size; }
static off_t end_of_write(int fd, size_t size) {
    struct stat s;
    if (fcntl(fd, F_GETFL) & O_APPEND) return fstat(fd, &s) == 0 ? s.st_size + (off_t)size : 0;
    return lseek(fd, 0, SEEK_CUR) + (off_t)size;
}
static int write_is_refused(int fd, off_t end) {
    wait_for_disk(fd, 8);
    if (!is_file(fd)) return 0;
    return is_read_only() || (grows(fd, end) && has_no_quota()) ||
           (is_there("LOG_HAS_NO_ROOM") && is_log(fd) && fails_with(ENOSPC));
}

int fsync(int fd) { wait_for_disk(fd, 1); return sync_is_refused(fd) ? -1 : NEXT(int (*)(int), "fsync")(fd); }
int fdatasync(int fd) {
    wait_for_disk(fd, 1);
    return sync_is_refused(fd) ? -1 : NEXT(int (*)(int), "fdatasync")(fd);
}
ssize_t write(int fd, const void *data, size_t size) {
    if (write_is_refused(fd, end_of_write(fd, size))) return -1;
    return NEXT(ssize_t (*)(int, const void *, size_t), "write")(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    if (write_is_refused(fd, at + (off_t)size)) return -1;
    return NEXT(ssize_t (*)(int, const void *, size_t, off_t), "pwrite")(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    if (write_is_refused(fd, at + (off64_t)size)) return -1;
    return NEXT(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64")(fd, data, size, at);
}

/* As the kernel does it: what is there may be opened for reading, nothing can be made, nothing opened for writing. */
static int open_at(const char *name, int folder, const char *path, int flags, mode_t mode) {
    int (*next)(int, const char *, int, ...) = NEXT(int (*)(int, const char *, int, ...), name);
    int writes = (flags & O_ACCMODE) != O_RDONLY || flags & CREATES;
    int makes = flags & O_CREAT && faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
    if (makes && errno == ENOENT && has_no_quota()) return -1;
    if (!writes || !is_there("DISK_IS_READ_ONLY")) return next(folder, path, flags, mode);
    int fd = next(folder, path, flags & ~CREATES);
    if (fd < 0) {
        if (errno == ENOENT && flags & O_CREAT) errno = EROFS;
        return -1;
    }
    int code = flags & O_EXCL ? EEXIST : is_file(fd) ? EROFS : 0;
    if (code) {
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}
static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; }
#define OPEN(NAME, AT, FOLDER, ...) \
    int NAME(__VA_ARGS__, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        return open_at(AT, FOLDER, path, flags, mode); \
    }
OPEN(open, "openat", AT_FDCWD, const char *path)
OPEN(open64, "openat64", AT_FDCWD, const char *path)
OPEN(openat, "openat", folder, int folder, const char *path)
OPEN(openat64, "openat64", folder, int folder, const char *path)

#define REFUSED_IF(REFUSED, NAME, TYPES, ARGUMENTS) \
    int NAME TYPES { return REFUSED ? -1 : NEXT(int (*) TYPES, #NAME) ARGUMENTS; }
#define REFUSED_IF_READ_ONLY(NAME, TYPES, ARGUMENTS) REFUSED_IF(is_read_only(), NAME, TYPES, ARGUMENTS)
REFUSED_IF_READ_ONLY(ftruncate, (int a, off_t b), (a, b))
REFUSED_IF_READ_ONLY(ftruncate64, (int a, off64_t b), (a, b))
REFUSED_IF_READ_ONLY(unlink, (const char *a), (a))
REFUSED_IF_READ_ONLY(unlinkat, (int a, const char *b, int c), (a, b, c))
REFUSED_IF_READ_ONLY(rename, (const char *a, const char *b), (a, b))
REFUSED_IF_READ_ONLY(renameat, (int a, const char *b, int c, const char *d), (a, b, c, d))
REFUSED_IF_READ_ONLY(link, (const char *a, const char *b), (a, b))
REFUSED_IF_READ_ONLY(linkat, (int a, const char *b, int c, const char *d, int e), (a, b, c, d, e))
REFUSED_IF(is_read_only() || has_no_quota(), mkdir, (const char *a, mode_t b), (a, b))
REFUSED_IF(is_read_only() || has_no_quota(), mkdirat, (int a, const char *b, mode_t c), (a, b, c))
