// System calls that Swift's Glibc module does not show.
#pragma once
#include <poll.h>
#include <stdint.h>

/// renameat2(RENAME_EXCHANGE): 0, or -1 with errno.
int pika_rename_exchange(const char *left, const char *right);

/// sync_file_range(SYNC_FILE_RANGE_WRITE): starts writeback without waiting; 0, or -1 with errno.
int pika_start_writeback(int descriptor, uint64_t offset, uint64_t length);

/// ppoll without signals: how many descriptors are ready, or -1 with errno.
int pika_poll(struct pollfd *descriptors, uint64_t count, int64_t nanoseconds);

/// prctl(PR_SET_TIMERSLACK, 1): this thread wakes up when it is due, not up to 50 us later; 0, or -1 with
/// errno.
int pika_wake_up_precisely(void);
