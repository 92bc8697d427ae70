/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds a target the files of its corpus, SVL_CORPUS/<its name>, each in a block of exactly its size: one test a file, as TAP. */
#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *fed = "nothing"; /* for the signal handler */

/* What an input ends with a signal is named. */
static void on_end(int number)
{
    static const char words[] = "# the input that ended it: ";
    ssize_t written = write(STDERR_FILENO, words, sizeof(words) - 1);

    written += write(STDERR_FILENO, fed, strlen(fed));
    written += write(STDERR_FILENO, "\n", 1);
    (void)written;
    raise(number);
}

static void name_what_ends(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    struct sigaction action = {.sa_handler = on_end, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};

    for (unsigned int i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
        sigaction(signals[i], &action, NULL);
    }
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* @return nonzero when the file was read and fed */
static int feed_file(const char *directory, const char *name)
{
    char path[4096];
    struct stat info;
    unsigned char *bytes;
    FILE *file;
    int whole;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info) != 0) {
        return 0;
    }
    bytes = malloc(info.st_size > 0 ? (size_t)info.st_size : 1);
    whole = bytes && fread(bytes, 1, (size_t)info.st_size, file) == (size_t)info.st_size;
    fclose(file);
    fed = path;
    if (whole) {
        LLVMFuzzerTestOneInput(bytes, (size_t)info.st_size);
    }
    fed = "nothing";
    free(bytes);
    return whole;
}

int main(int argc, char **argv)
{
    const char *corpus = getenv("SVL_CORPUS");
    const char *slash = strrchr(argv[0], '/');
    const char *target = slash ? slash + 1 : argv[0];
    struct dirent **inputs;
    char directory[2048];
    int failed = 0;
    int count;

    snprintf(directory, sizeof(directory), "%s/%s", corpus ? corpus : "t/fuzz/corpus", target);
    if (argc > 1) {
        snprintf(directory, sizeof(directory), "%s", argv[1]);
    }
    name_what_ends();
    count = scandir(directory, &inputs, is_input, alphasort);
    if (count <= 0) {
        printf("1..1\nnot ok 1 - %s is fed: there is nothing in %s\n", target, directory);
        return 1;
    }
    printf("1..%d\n", count);
    for (int i = 0; i < count; i++) {
        int whole = feed_file(directory, inputs[i]->d_name);

        printf("%s %d - %s: %s\n", whole ? "ok" : "not ok", i + 1, target, inputs[i]->d_name);
        fflush(stdout);
        failed += !whole;
        free(inputs[i]);
    }
    free(inputs);
    return failed > 0;
}
