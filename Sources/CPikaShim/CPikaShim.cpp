// Reads, writes and iterators.
#include "CPikaShim.h"

#include <cstdlib>
#include <cstring>
#include <ctime>

#include <rocksdb/write_batch.h>

#include "Internal.hpp"

using rocksdb::Slice;

namespace {

Slice MakeSlice(const void *data, size_t length) {
    return Slice(data ? static_cast<const char *>(data) : "", length);
}

const rocksdb::Snapshot *Unwrap(const pk_snapshot *snapshot) {
    return reinterpret_cast<const rocksdb::Snapshot *>(snapshot);
}

// A batch whose buffer grew beyond this is replaced after use.
constexpr size_t kBatchBytesKept = 1 << 20;

}  // namespace

int32_t pk::Report(const rocksdb::Status &status, pk_error *error) {
    if (status.ok()) return PK_OK;
    std::string text = status.ToString();
    int32_t code = static_cast<int32_t>(status.code());
    // Both the lock of another process and that of this one fail with this text.
    if (status.IsIOError() && text.find("lock") != std::string::npos &&
        text.find("LOCK") != std::string::npos) {
        code = PK_LOCKED;
    }
    error->code = code;
    error->is_no_space = status.IsNoSpace() || text.find("No space left") != std::string::npos;
    error->message = strdup(text.c_str());
    return code;
}

int64_t pk::Nanoseconds() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

int32_t pk::ReportClosed(pk_error *error) {
    error->code = PK_CLOSED;
    return PK_CLOSED;
}

void pk_error_clear(pk_error *error) {
    free(error->message);
    error->message = nullptr;
    error->code = 0;
    error->is_no_space = 0;
}

void pk_free(char *text) { free(text); }

struct pk_pin {
    rocksdb::PinnableSlice slice;
    rocksdb::ReadOptions options;
};

pk_pin *pk_pin_create(void) { return new pk_pin(); }
void pk_pin_destroy(pk_pin *pin) { delete pin; }
void pk_pin_release(pk_pin *pin) { pin->slice.Reset(); }

// One read in so many brings its block into the block cache. A block that is read again and again is soon
// there; one of very many that are read once does not push it out, and costs no place.
constexpr uint32_t kReadsPerAdmission = 8;
static thread_local uint32_t reads_of_thread = 0;

static int32_t Get(pk_store *store, uint8_t family, const void *key, size_t key_length,
                   pk_pin *pin, const void **value, size_t *value_length, pk_error *error) {
    pin->slice.Reset();
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return pk::ReportClosed(error);
    pin->options.fill_cache = ++reads_of_thread % kReadsPerAdmission == 0;
    auto status = db->Get(pin->options, store->handles[family], MakeSlice(key, key_length),
                                 &pin->slice);
    if (status.ok()) {
        *value = pin->slice.data();
        *value_length = pin->slice.size();
        return PK_OK;
    }
    return status.IsNotFound() ? PK_NOT_FOUND : pk::Report(status, error);
}

int32_t pk_get(pk_store *store, uint8_t family, const void *key, size_t key_length,
               const pk_snapshot *snapshot, pk_pin *pin, const void **value, size_t *value_length,
               pk_error *error) {
    pin->options.snapshot = Unwrap(snapshot);
    return Get(store, family, key, key_length, pin, value, value_length, error);
}

int32_t pk_get_timed(pk_store *store, uint8_t family, const void *key, size_t key_length,
                     pk_pin *pin, const void **value, size_t *value_length, int64_t *nanoseconds,
                     pk_error *error) {
    int64_t start = pk::Nanoseconds();
    int32_t code = pk_get(store, family, key, key_length, nullptr, pin, value, value_length, error);
    *nanoseconds = pk::Nanoseconds() - start;
    return code;
}

int32_t pk_get_persisted(pk_store *store, uint8_t family, const void *key, size_t key_length,
                         pk_pin *pin, const void **value, size_t *value_length, pk_error *error) {
    pin->options.snapshot = nullptr;
    pin->options.read_tier = rocksdb::kPersistedTier;
    int32_t code = Get(store, family, key, key_length, pin, value, value_length, error);
    pin->options.read_tier = rocksdb::kReadAllTier;
    return code;
}

pk_snapshot *pk_snapshot_create(pk_store *store) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return nullptr;
    return reinterpret_cast<pk_snapshot *>(const_cast<rocksdb::Snapshot *>(db->GetSnapshot()));
}

void pk_snapshot_release(pk_store *store, pk_snapshot *snapshot) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db != nullptr) db->ReleaseSnapshot(Unwrap(snapshot));
}

struct pk_iterator {
    std::string lower;
    std::string upper;
    Slice lower_slice;
    Slice upper_slice;
    std::unique_ptr<rocksdb::Iterator> it;
};

pk_iterator *pk_iterator_create(pk_store *store, uint8_t family, const void *lower,
                                size_t lower_length, const void *upper, size_t upper_length,
                                int32_t fill_cache, const pk_snapshot *snapshot) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return nullptr;
    auto *made = new pk_iterator();
    rocksdb::ReadOptions options;
    options.fill_cache = fill_cache != 0;
    options.snapshot = Unwrap(snapshot);
    if (lower_length > 0) {
        made->lower.assign(static_cast<const char *>(lower), lower_length);
        made->lower_slice = Slice(made->lower);
        options.iterate_lower_bound = &made->lower_slice;
    }
    if (upper_length > 0) {
        made->upper.assign(static_cast<const char *>(upper), upper_length);
        made->upper_slice = Slice(made->upper);
        options.iterate_upper_bound = &made->upper_slice;
    }
    made->it.reset(db->NewIterator(options, store->handles[family]));
    return made;
}

void pk_iterator_destroy(pk_iterator *iterator) { delete iterator; }

static int32_t Entry(pk_iterator *iterator, pk_entry *entry) {
    rocksdb::Iterator *it = iterator->it.get();
    if (!it->Valid()) return 0;
    Slice key = it->key(), value = it->value();
    *entry = pk_entry{key.data(), key.size(), value.data(), value.size()};
    return 1;
}

int32_t pk_iterator_seek(pk_iterator *iterator, const void *key, size_t key_length,
                         pk_entry *entry) {
    iterator->it->Seek(MakeSlice(key, key_length));
    return Entry(iterator, entry);
}

int32_t pk_iterator_seek_for_prev(pk_iterator *iterator, const void *key, size_t key_length,
                                  pk_entry *entry) {
    iterator->it->SeekForPrev(MakeSlice(key, key_length));
    return Entry(iterator, entry);
}

int32_t pk_iterator_first(pk_iterator *iterator, pk_entry *entry) {
    iterator->it->SeekToFirst();
    return Entry(iterator, entry);
}

int32_t pk_iterator_last(pk_iterator *iterator, pk_entry *entry) {
    iterator->it->SeekToLast();
    return Entry(iterator, entry);
}

int32_t pk_iterator_next(pk_iterator *iterator, pk_entry *entry) {
    iterator->it->Next();
    return Entry(iterator, entry);
}

int32_t pk_iterator_prev(pk_iterator *iterator, pk_entry *entry) {
    iterator->it->Prev();
    return Entry(iterator, entry);
}

int32_t pk_iterator_status(pk_iterator *iterator, pk_error *error) {
    return pk::Report(iterator->it->status(), error);
}

// Rows from which on a batch is large.
constexpr size_t kLargeBatchRows = 4096;

// Large rows of a batch for which memory is made ready, and from which size on.
constexpr size_t kReadyRows = 2;
constexpr uint32_t kReadyBytes = 4 << 20;

struct pk_batch {
    rocksdb::WriteBatch batch;
    rocksdb::WriteOptions options;
};

pk_batch *pk_batch_create(void) { return new pk_batch(); }
void pk_batch_destroy(pk_batch *batch) { delete batch; }

void pk_batch_clear(pk_batch *batch) {
    if (batch->batch.GetDataSize() > kBatchBytesKept) {
        batch->batch = rocksdb::WriteBatch();
        pk::DropReadyMemory();
    } else {
        batch->batch.Clear();
    }
}

int32_t pk_batch_fill(pk_store *store, pk_batch *batch, const pk_row *rows, size_t row_count,
                      pk_error *error) {
    if (store->db.load(std::memory_order_acquire) == nullptr) return pk::ReportClosed(error);
    rocksdb::Status status;
    for (size_t i = 0; i < row_count && status.ok(); i++) {
        const pk_row &row = rows[i];
        if (row.value_length == PK_ROW_VOID) continue;
        Slice key = MakeSlice(row.key, row.key_length);
        rocksdb::ColumnFamilyHandle *family = store->handles[row.family];
        if (row.value_length == PK_ROW_DELETE) {
            status = batch->batch.Delete(family, key);
        } else {
            status = batch->batch.Put(family, key, MakeSlice(row.value, row.value_length));
        }
    }
    return pk::Report(status, error);
}

void pk_batch_make_ready(const pk_store *store, const pk_row *rows, size_t row_count) {
    if (!store->hash_memtables) return;
    size_t left = kReadyRows;
    for (size_t i = 0; i < row_count && left > 0; i++) {
        if (rows[i].value_length >= PK_ROW_VOID || rows[i].value_length < kReadyBytes) continue;
        pk::MakeMemoryReady(size_t{rows[i].key_length} + rows[i].value_length);
        left -= 1;
    }
}

int32_t pk_batch_delete_range(pk_store *store, pk_batch *batch, uint8_t family, const void *start,
                              size_t start_length, const void *end, size_t end_length,
                              pk_error *error) {
    if (store->db.load(std::memory_order_acquire) == nullptr) return pk::ReportClosed(error);
    return pk::Report(batch->batch.DeleteRange(store->handles[family],
                                               MakeSlice(start, start_length),
                                               MakeSlice(end, end_length)),
                      error);
}

int32_t pk_batch_write(pk_store *store, pk_batch *batch, int32_t no_slowdown, pk_error *error) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return pk::ReportClosed(error);
    batch->options.disableWAL = !store->write_ahead_log;
    batch->options.no_slowdown = no_slowdown != 0;
    size_t rows = batch->batch.Count();
    if (rows < kLargeBatchRows) return pk::Report(db->Write(batch->options, &batch->batch), error);
    pk::expected_rows = rows;
    auto status = db->Write(batch->options, &batch->batch);
    pk::expected_rows = 0;
    return pk::Report(status, error);
}

int32_t pk_write(pk_store *store, pk_batch *batch, const pk_row *rows, size_t row_count,
                 int32_t no_slowdown, pk_error *error) {
    batch->batch.Clear();
    int32_t code = pk_batch_fill(store, batch, rows, row_count, error);
    if (code == 0) code = pk_batch_write(store, batch, no_slowdown, error);
    if (batch->batch.GetDataSize() > kBatchBytesKept) batch->batch = rocksdb::WriteBatch();
    return code;
}
