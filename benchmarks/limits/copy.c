/* The limit of bulk: the least that any program can do to make one directory like another.
 *
 *     copy SOURCE TARGET THREADS none|each|syncfs
 *
 * What differs in size or time is read, written to a temporary, [synced], given its time, and renamed; directories are synced at the
 * end where files are. No history, no record, nothing removed, no recovery. Prints how many files it copied.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *source, *target;
static char **paths, **directories; /* relative to source and target */
static int count, room, directory_count, directory_room, taken, copied, each;

static void add(char ***list, int *length, int *size, const char *path)
{
    if (*length == *size) {
        *size = *size * 2 + 1024;
        *list = realloc(*list, *size * sizeof **list);
        if (!*list)
            err(1, "cannot remember %s", path);
    }
    (*list)[(*length)++] = strdup(path);
}

static void list(const char *below)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", target, below);
    mkdir(path, 0755);
    add(&directories, &directory_count, &directory_room, below);
    snprintf(path, sizeof path, "%s/%s", source, below);
    DIR *directory = opendir(path);
    if (!directory)
        err(1, "cannot list %s", path);
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(path, sizeof path, "%s%s%s", below, *below ? "/" : "", entry->d_name);
        if (entry->d_type == DT_DIR)
            list(path);
        else
            add(&paths, &count, &room, path);
    }
    closedir(directory);
}

static void copy(const char *path, char *buffer, size_t size)
{
    char from[PATH_MAX], temporary[PATH_MAX], to[PATH_MAX];
    struct stat wanted, present;
    snprintf(from, sizeof from, "%s/%s", source, path);
    snprintf(to, sizeof to, "%s/%s", target, path);
    snprintf(temporary, sizeof temporary, "%s/%s.copying", target, path);
    if (stat(from, &wanted))
        err(1, "cannot look at %s", from);
    if (!stat(to, &present) && present.st_size == wanted.st_size && present.st_mtim.tv_sec == wanted.st_mtim.tv_sec
        && present.st_mtim.tv_nsec == wanted.st_mtim.tv_nsec)
        return;
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (in < 0 || out < 0)
        err(1, "cannot open %s", path);
    for (ssize_t length; (length = read(in, buffer, size)) > 0;)
        if (write(out, buffer, length) != length)
            err(1, "cannot write %s", temporary);
    struct timespec times[2] = {wanted.st_atim, wanted.st_mtim};
    if (futimens(out, times) || (each && fsync(out)) || close(out) || rename(temporary, to))
        err(1, "cannot put %s", to);
    close(in);
    __atomic_add_fetch(&copied, 1, __ATOMIC_RELAXED);
}

static void *work(void *nothing)
{
    size_t size = 1 << 16;
    char *buffer = malloc(size);
    if (!buffer)
        err(1, "cannot begin");
    for (int mine; (mine = __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED)) < count;)
        copy(paths[mine], buffer, size);
    free(buffer);
    return nothing;
}

static void sync_directories(void)
{
    for (int index = 0; index < directory_count; index++) {
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", target, directories[index]);
        int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (descriptor < 0 || fsync(descriptor))
            err(1, "cannot sync %s", path);
        close(descriptor);
    }
}

static void sync_file_system(void)
{
    int descriptor = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0 || syncfs(descriptor))
        err(1, "cannot sync %s", target);
    close(descriptor);
}

int main(int arguments, char **argument)
{
    if (arguments != 5)
        errx(2, "usage: copy SOURCE TARGET THREADS none|each|syncfs");
    source = argument[1];
    target = argument[2];
    int threads = atoi(argument[3]);
    each = !strcmp(argument[4], "each");
    list("");
    pthread_t *running = calloc(threads, sizeof *running);
    if (!running)
        err(1, "cannot begin");
    for (int index = 0; index < threads; index++)
        if (pthread_create(running + index, NULL, work, NULL))
            err(1, "cannot start a thread");
    for (int index = 0; index < threads; index++)
        pthread_join(running[index], NULL);
    if (each && copied)
        sync_directories();
    if (!strcmp(argument[4], "syncfs"))
        sync_file_system();
    printf("%d\n", copied);
    return 0;
}
