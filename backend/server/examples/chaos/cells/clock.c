/* Moves the wall clock of a process and of its forks, as a machine whose clock is set would: preloaded, it adds to the time
 * the seconds that stand, as a 64-bit number that may change at any time, in the file that SYNDARIX_CHAOS_CLOCK names.
 * Clocks that only run (CLOCK_MONOTONIC) are left alone: nobody sets them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef int (*gettime)(clockid_t, struct timespec *);

static gettime real;
static const volatile int64_t *seconds;

static gettime found(void)
{
    if (!real)
        real = (gettime)dlsym(RTLD_NEXT, "clock_gettime");
    return real;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("SYNDARIX_CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    /* Before a signal handler asks for the time. */
    found();
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        seconds = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = found()(clock, now);
    if (!failed && seconds && clock == CLOCK_REALTIME)
        now->tv_sec += *seconds;
    return failed;
}

/* The two older ways to ask, of which PostgreSQL makes use. */
int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact))
        return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *kept)
{
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact))
        return -1;
    if (kept)
        *kept = exact.tv_sec;
    return exact.tv_sec;
}
