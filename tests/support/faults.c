/* The system below SQLite, which fails as it is told to: see faults.py.

A call counts when it is of the chosen kind, on a file whose name begins with the chosen text. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { NOTHING, WRITE, SHORT, SYNC, OPEN, TRUNCATE, UNLINK };

static int kind, error;
static long first, last, calls;
static char prefix[4096];

void faults_set(const char *names, int what, long from, long to, int number)
{
    kind = NOTHING;
    snprintf(prefix, sizeof prefix, "%s", names);
    first = from, last = to, calls = 0, error = number;
    kind = what;
}

long faults_calls(void) { return calls; }

/* Return which of the failing calls this is, from 1; 0: it does not fail. */
static long fails(int what, const char *name)
{
    if (kind != what || strncmp(name, prefix, strlen(prefix)))
        return 0;
    long call = __sync_add_and_fetch(&calls, 1);
    errno = error;
    return first <= call && call <= last ? call - first + 1 : 0;
}

static long fails_on(int what, int fd)
{
    char link[32], name[4096];
    if (kind != what)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    name[length < 0 ? 0 : length] = 0;
    return fails(what, name);
}

#define REAL(name, result, ...)                  \
    static result (*real)(__VA_ARGS__);          \
    if (!real)                                   \
        *(void **)&real = dlsym(RTLD_NEXT, #name)

/* A short write stores a half; the next one, of the rest, fails. */
#define WRITES(fd, size)                                    \
    long shorter = fails_on(SHORT, fd);                     \
    if (fails_on(WRITE, fd) || shorter > 1 || (shorter && size < 2)) \
        return -1;                                          \
    if (shorter)                                            \
        size /= 2

#define DEFINE_PWRITE(name, offset)                                    \
    ssize_t name(int fd, const void *data, size_t size, offset at)     \
    {                                                                  \
        REAL(name, ssize_t, int, const void *, size_t, offset);        \
        WRITES(fd, size);                                              \
        return real(fd, data, size, at);                               \
    }
DEFINE_PWRITE(pwrite, off_t)
DEFINE_PWRITE(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write, ssize_t, int, const void *, size_t);
    WRITES(fd, size);
    return real(fd, data, size);
}

#define DEFINE_SYNC(name)                                  \
    int name(int fd)                                       \
    {                                                      \
        REAL(name, int, int);                              \
        return fails_on(SYNC, fd) ? -1 : real(fd);         \
    }
DEFINE_SYNC(fsync)
DEFINE_SYNC(fdatasync)

#define DEFINE_TRUNCATE(name, offset)                            \
    int name(int fd, offset size)                                \
    {                                                            \
        REAL(name, int, int, offset);                            \
        return fails_on(TRUNCATE, fd) ? -1 : real(fd, size);     \
    }
DEFINE_TRUNCATE(ftruncate, off_t)
DEFINE_TRUNCATE(ftruncate64, off64_t)

int unlink(const char *name)
{
    REAL(unlink, int, const char *);
    return fails(UNLINK, name) ? -1 : real(name);
}

#define DEFINE_OPEN(name)                                                              \
    int name(const char *path, int flags, ...)                                         \
    {                                                                                  \
        REAL(name, int, const char *, int, ...);                                       \
        va_list more;                                                                  \
        va_start(more, flags);                                                         \
        mode_t mode = va_arg(more, mode_t); /* without O_CREAT it means nothing */     \
        va_end(more);                                                                  \
        return fails(OPEN, path) ? -1 : real(path, flags, mode);                       \
    }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)
