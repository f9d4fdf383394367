/* Moves the wall clock of one process, as a machine whose clock is set would: preloaded, it adds to CLOCK_REALTIME the
 * seconds that stand, as a 64-bit number that may change at any time, in the file that SYNDARIX_CHAOS_CLOCK names.
 * Clocks that only run (CLOCK_MONOTONIC) are left alone: nobody sets them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef int (*gettime)(clockid_t, struct timespec *);

static gettime real;
static const volatile int64_t *seconds;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("SYNDARIX_CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        seconds = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!real)
        real = (gettime)dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && seconds && clock == CLOCK_REALTIME)
        now->tv_sec += *seconds;
    return failed;
}
