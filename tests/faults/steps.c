/* Preloaded into a server: counts its steps to the disk and to its clients over all threads and
 * processes, and at a chosen step kills the process or makes the call fail.
 *
 * STEPS_CONTROL names a file that is mapped as struct control and shared with the test;
 * STEPS_ROOT is the directory whose files are watched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE, SYNC, RENAME, UNLINK, TRUNCATE, ANSWER, READ, KINDS };

struct control {
    uint64_t mask;  /* kinds that count, one bit each; 0 switches everything off */
    uint64_t first; /* the steps from first to last are hit */
    uint64_t last;
    uint64_t error; /* 0: SIGKILL before the call; else the call fails with this errno */
    uint64_t count;
    uint64_t victim; /* the process that was killed */
    uint8_t kinds[8192]; /* what each step was */
};

static struct control *control;
static const char *root;
static size_t root_length;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("STEPS_CONTROL");
    root = getenv("STEPS_ROOT");
    if (!path || !root) return;
    root_length = strlen(root);
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return;
    void *memory = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (memory != MAP_FAILED) control = memory;
}

static int below_root(const char *path) { return strncmp(path, root, root_length) == 0; }

static int watched(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below_root(path);
}

static int counts(enum kind kind) { return control && (control->mask >> kind & 1); }

/* Take one step; 1 where it has to fail (errno is set). */
static int step(enum kind kind) {
    uint64_t number = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (number <= sizeof control->kinds) control->kinds[number - 1] = (uint8_t)kind;
    if (number < control->first || number > control->last) return 0;
    if (control->error == 0) {
        control->victim = (uint64_t)getpid();
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
    errno = (int)control->error;
    return 1;
}

static int hit_descriptor(enum kind kind, int descriptor) {
    return counts(kind) && watched(descriptor) && step(kind);
}

static int hit_path(enum kind kind, const char *path) { return counts(kind) && below_root(path) && step(kind); }

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
    return hit_descriptor(WRITE, fd) ? -1 : NEXT(write)(fd, data, size);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    return hit_descriptor(WRITE, fd) ? -1 : NEXT(writev)(fd, parts, count);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return hit_descriptor(WRITE, fd) ? -1 : NEXT(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return hit_descriptor(WRITE, fd) ? -1 : NEXT(pwrite64)(fd, data, size, at);
}
int fsync(int fd) { return hit_descriptor(SYNC, fd) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return hit_descriptor(SYNC, fd) ? -1 : NEXT(fdatasync)(fd); }
int rename(const char *from, const char *to) { return hit_path(RENAME, to) ? -1 : NEXT(rename)(from, to); }
int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    return hit_path(RENAME, to) ? -1 : NEXT(renameat)(from_fd, from, to_fd, to);
}
int unlink(const char *path) { return hit_path(UNLINK, path) ? -1 : NEXT(unlink)(path); }
int unlinkat(int fd, const char *path, int flags) {
    return hit_path(UNLINK, path) ? -1 : NEXT(unlinkat)(fd, path, flags);
}
int ftruncate(int fd, off_t size) { return hit_descriptor(TRUNCATE, fd) ? -1 : NEXT(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return hit_descriptor(TRUNCATE, fd) ? -1 : NEXT(ftruncate64)(fd, size); }
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    return hit_descriptor(READ, fd) ? -1 : NEXT(pread)(fd, data, size, at);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    return hit_descriptor(READ, fd) ? -1 : NEXT(pread64)(fd, data, size, at);
}
ssize_t sendfile(int out, int in, off_t *at, size_t size) {
    return hit_descriptor(READ, in) ? -1 : NEXT(sendfile)(out, in, at, size);
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t size) {
    return hit_descriptor(READ, in) ? -1 : NEXT(sendfile64)(out, in, at, size);
}
ssize_t send(int fd, const void *data, size_t size, int flags) {
    int answer = size >= 9 && memcmp(data, "HTTP/1.1 ", 9) == 0;
    return answer && counts(ANSWER) && step(ANSWER) ? -1 : NEXT(send)(fd, data, size, flags);
}
