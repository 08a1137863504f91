#define _GNU_SOURCE
#include "CFileShim.h"

#include <fcntl.h>
#include <stdio.h>

int pika_rename_exchange(const char *left, const char *right) {
    return renameat2(AT_FDCWD, left, AT_FDCWD, right, RENAME_EXCHANGE);
}

int pika_start_writeback(int descriptor, uint64_t offset, uint64_t length) {
    return sync_file_range(descriptor, (off_t)offset, (off_t)length, SYNC_FILE_RANGE_WRITE);
}
