// System calls that Swift's Glibc module does not show.
#pragma once
#include <stdint.h>

/// renameat2(RENAME_EXCHANGE): 0, or -1 with errno.
int pika_rename_exchange(const char *left, const char *right);

/// sync_file_range(SYNC_FILE_RANGE_WRITE): starts writeback without waiting; 0, or -1 with errno.
int pika_start_writeback(int descriptor, uint64_t offset, uint64_t length);
