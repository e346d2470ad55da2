/* The limit of latency: the least that any program can do to bring one changed file from a directory to another.
 *
 *     relay SOURCE TARGET [sync]
 *
 * inotify read -> read the file -> write a temporary -> [fsync] -> rename. It watches all directories below SOURCE and puts
 * every file that is written or moved there into TARGET, by its last name. No history, no record, no rendering, no recovery.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

static char **watched; /* directory of each watch descriptor */
static int room;

static void watch(int events, const char *path)
{
    int descriptor = inotify_add_watch(events, path, IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR);
    if (descriptor < 0)
        err(1, "cannot watch %s", path);
    if (descriptor >= room) {
        room = descriptor * 2 + 64;
        watched = realloc(watched, room * sizeof *watched);
        if (!watched)
            err(1, "cannot remember watches");
    }
    watched[descriptor] = strdup(path);

    DIR *directory = opendir(path);
    if (!directory)
        err(1, "cannot list %s", path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_type != DT_DIR || !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        char below[PATH_MAX];
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        watch(events, below);
    }
    closedir(directory);
}

static void copy(const char *from, const char *temporary, const char *to, int synced)
{
    static char buffer[1 << 20];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return; /* it has moved on: another event tells of it */
    int out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (out < 0)
        err(1, "cannot create %s", temporary);
    for (ssize_t length; (length = read(in, buffer, sizeof buffer)) > 0;)
        if (write(out, buffer, length) != length)
            err(1, "cannot write %s", temporary);
    close(in);
    if (synced && fsync(out))
        err(1, "cannot sync %s", temporary);
    close(out);
    if (rename(temporary, to))
        err(1, "cannot rename %s", to);
}

int main(int count, char **arguments)
{
    if (count < 3)
        errx(2, "usage: relay SOURCE TARGET [sync]");
    int synced = count > 3;
    int events = inotify_init1(IN_CLOEXEC);
    if (events < 0)
        err(1, "cannot watch");
    watch(events, arguments[1]);
    puts("ready");
    fflush(stdout);

    static char buffer[1 << 16] __attribute__((aligned(8)));
    for (ssize_t length; (length = read(events, buffer, sizeof buffer)) > 0;) {
        for (char *at = buffer; at < buffer + length;) {
            struct inotify_event *event = (struct inotify_event *)at;
            at += sizeof *event + event->len;
            if (!event->len || (event->mask & IN_ISDIR))
                continue;
            char from[PATH_MAX], temporary[PATH_MAX], to[PATH_MAX];
            snprintf(from, sizeof from, "%s/%s", watched[event->wd], event->name);
            snprintf(temporary, sizeof temporary, "%s/.relay-%s", arguments[2], event->name);
            snprintf(to, sizeof to, "%s/%s", arguments[2], event->name);
            copy(from, temporary, to, synced);
        }
    }
    err(1, "cannot read events");
}
