// Parts that the shim's files share.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/listener.h>
#include <rocksdb/memtablerep.h>
#include <rocksdb/rate_limiter.h>
#include <rocksdb/write_buffer_manager.h>

#include "CPikaShim.h"
#include "Pauses.hpp"

namespace pk {

enum Kind : int32_t { kStrings = 0, kHashes = 1, kLists = 2, kSets = 3, kZSets = 4 };
enum Family : uint8_t { kMeta = 0, kData = 1, kScore = 2 };

inline size_t FamilyCount(int32_t kind) {
    return kind == kStrings ? 1 : kind == kZSets ? 3 : 2;
}

inline const char *FamilyName(int32_t kind, size_t family) {
    if (family == kScore) return "score_cf";
    if (family == kData) return kind == kSets ? "member_cf" : "data_cf";
    return "default";
}

const rocksdb::Comparator *ComparatorOf(int32_t kind, size_t family);

// File number and offset of the binlog.
using LogPosition = std::pair<uint64_t, uint64_t>;

// Element rows whose version only an empty meta row names yet (pk_store_unseen_begin).
struct UnseenRows {
    std::mutex mutex;
    int writers = 0;
    LogPosition end{0, 0};
};

// What compaction filters need of a store; outlives the store's database.
struct FilterContext {
    int32_t kind = 0;
    bool wall_clock = false;
    // Null until the store is open: filters keep everything until then.
    std::atomic<rocksdb::DB *> db{nullptr};
    std::atomic<rocksdb::ColumnFamilyHandle *> meta{nullptr};
    UnseenRows unseen;
};

std::shared_ptr<rocksdb::CompactionFilterFactory> FilterFactoryOf(
    std::shared_ptr<FilterContext> context, size_t family);

// Rows of the large batch that this thread is writing, or 0: a memtable makes room for all at once.
extern thread_local size_t expected_rows;

// Makes memory ready for a large row that is about to be written; nothing for others.
void MakeMemoryReady(size_t row_bytes);
// Gives back what was not used: a write may come to nothing.
void DropReadyMemory();

// Memtables of ours, for one family.
std::shared_ptr<rocksdb::MemTableRepFactory> HashMemtableFactory(
    const rocksdb::Comparator *comparator);

// The value's bytes in front of and behind the payload of the reserved row are part of its format:
// Swift's AppliedRow writes them; the filters only need position and highest effective now in it.
bool IsReservedName(const rocksdb::Slice &key);
bool Position(const rocksdb::Slice &value, LogPosition *position);
bool HighestEffectiveNow(const rocksdb::Slice &value, int64_t *seconds);
rocksdb::Slice ReservedName();

// Of the monotonic clock.
int64_t Nanoseconds();

int32_t Report(const rocksdb::Status &status, pk_error *error);
int32_t ReportClosed(pk_error *error);

}  // namespace pk

struct pk_env {
    std::shared_ptr<rocksdb::Cache> cache;
    std::shared_ptr<rocksdb::WriteBufferManager> write_buffers;
    std::shared_ptr<rocksdb::RateLimiter> rate_limiter;
    std::shared_ptr<rocksdb::Logger> logger;
};

struct pk_store {
    int32_t kind = 0;
    bool write_ahead_log = false;
    bool hash_memtables = false;
    // Null once the store is closed.
    std::atomic<rocksdb::DB *> db{nullptr};
    std::vector<rocksdb::ColumnFamilyHandle *> handles;
    std::shared_ptr<pk::FilterContext> filters;
    std::shared_ptr<pk::Backlog> backlog = std::make_shared<pk::Backlog>();
    // Kept until the database is closed.
    std::shared_ptr<rocksdb::Cache> cache;
};
