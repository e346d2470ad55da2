/* The observer: says when new bytes are whole at a target, and whether anybody could have read anything else meanwhile.
 *
 *     observer SIZE plain|rendered FILE...
 *
 * It looks at a file at each event of its directory. The file has at most SIZE bytes; each of its lines begins with the same eight
 * digits, its number, and the last line, and no other, is the number and "end". For each new number one line is printed:
 *
 *     <index of the file> <number> <nanoseconds, CLOCK_MONOTONIC> <torn so far> <missing so far>
 *
 * Torn: it was there, and was not whole, or held lines of two numbers, or (rendered) a dollar sign. Missing: it was not there, although it had been.
 * It is a process of its own so that nothing which is measured shares anything with it.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

enum { DIGITS = 8, LOOK_ANYWAY = 50 /* ms without an event; longer where there are many files */ };

static struct file {
    const char *path, *name;
    char directory[PATH_MAX];
    int watch;
    long number;
} *files;
static int count, events, rendered;
static size_t size;
static char *buffer;
static long torn, missing;

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* The number of what the buffer holds, or -1 where it is not whole. */
static long number_of(ssize_t length)
{
    static const char end[] = " end\n";
    if (length < DIGITS + (ssize_t)strlen(end) || length > (ssize_t)size
        || memcmp(buffer + length - strlen(end), end, strlen(end)))
        return -1;
    for (char *line = buffer; line < buffer + length;) {
        if (memcmp(line, buffer, DIGITS))
            return -1;
        line = memchr(line, '\n', buffer + length - line);
        if (!line++)
            return -1;
    }
    if (rendered && memchr(buffer, '$', length))
        return -1;
    return strtol(buffer, NULL, 10);
}

static void look(int index)
{
    struct file *file = files + index;
    int descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        missing += errno == ENOENT && file->number >= 0;
        return;
    }
    ssize_t length = read(descriptor, buffer, size + 1);
    long long at = now();
    close(descriptor);
    long number = number_of(length);
    if (number < 0) {
        torn++;
        return;
    }
    if (number == file->number)
        return;
    file->number = number;
    printf("%d %ld %lld %ld %ld\n", index, number, at, torn, missing);
    fflush(stdout);
}

static void watch(struct file *file)
{
    file->watch = inotify_add_watch(events, file->directory, IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVE);
    if (file->watch < 0)
        err(1, "cannot watch %s", file->directory);
}

static void prepare(int index, const char *path)
{
    struct file *file = files + index;
    const char *slash = strrchr(path, '/');
    if (!slash)
        errx(2, "%s is not absolute", path);
    file->path = path;
    file->name = slash + 1;
    snprintf(file->directory, sizeof file->directory, "%.*s", (int)(slash - path), path);
    file->number = -1;
    watch(file);
    look(index);
}

static void drain(void)
{
    static char room[1 << 16] __attribute__((aligned(8)));
    ssize_t length = read(events, room, sizeof room);
    for (char *at = room; at < room + length;) {
        struct inotify_event *event = (struct inotify_event *)at;
        at += sizeof *event + event->len;
        for (int index = 0; event->len && index < count; index++)
            if (files[index].watch == event->wd && !strcmp(files[index].name, event->name))
                look(index);
    }
}

int main(int arguments, char **argument)
{
    if (arguments < 4)
        errx(2, "usage: observer SIZE plain|rendered FILE...");
    size = strtoul(argument[1], NULL, 10);
    rendered = !strcmp(argument[2], "rendered");
    buffer = malloc(size + 1);
    count = arguments - 3;
    files = calloc(count, sizeof *files);
    events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (!buffer || !files || events < 0)
        err(1, "cannot begin");
    for (int index = 0; index < count; index++)
        prepare(index, argument[index + 3]);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct pollfd polled = {events, POLLIN, 0};
        if (poll(&polled, 1, LOOK_ANYWAY * (1 + count / 10)) > 0) {
            drain();
            continue;
        }
        for (int index = 0; index < count; index++) { /* somebody may have put another directory in its place */
            watch(files + index);
            look(index);
        }
    }
}
