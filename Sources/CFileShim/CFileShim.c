#define _GNU_SOURCE
#include "CFileShim.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>

int pika_rename_exchange(const char *left, const char *right) {
    return renameat2(AT_FDCWD, left, AT_FDCWD, right, RENAME_EXCHANGE);
}

int pika_start_writeback(int descriptor, uint64_t offset, uint64_t length) {
    return sync_file_range(descriptor, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
}

int pika_poll(struct pollfd *descriptors, uint64_t count, int64_t nanoseconds) {
    struct timespec limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    return ppoll(descriptors, (nfds_t)count, &limit, NULL);
}

int pika_wake_up_precisely(void) { return prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); }
