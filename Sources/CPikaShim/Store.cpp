// Opening, options, maintenance.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include <rocksdb/convenience.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>

#include "Internal.hpp"

namespace {

// Stands in for RocksDB's LOG file, whose writer aborts the process on a full disk.
class CallbackLogger : public rocksdb::Logger {
  public:
    CallbackLogger(rocksdb::InfoLogLevel level, pk_log_callback log, void *context)
        : rocksdb::Logger(level), log_(log), context_(context) {}

    using rocksdb::Logger::Logv;
    void Logv(const char *format, va_list arguments) override {
        Logv(rocksdb::INFO_LEVEL, format, arguments);
    }
    void Logv(const rocksdb::InfoLogLevel level, const char *format,
              va_list arguments) override {
        if (log_ == nullptr || level < GetInfoLogLevel() || level >= rocksdb::HEADER_LEVEL) return;
        char text[1024];
        vsnprintf(text, sizeof text, format, arguments);
        log_(context_, static_cast<int32_t>(level), text);
    }

  private:
    pk_log_callback log_;
    void *context_;
};

// Files at level 0 beyond those that start a compaction, until RocksDB slows and stops the writers:
// as many as with its own defaults.
constexpr int kLevel0FilesBeforeSlowing = 16;
constexpr int kLevel0FilesBeforeStop = 32;

// What a compaction reads of a file at once. Block by block, as RocksDB does when not told, it
// costs a SET among many keys a sixth more CPU in all.
constexpr size_t kCompactionReadBytes = 512 << 10;

class Listener : public rocksdb::EventListener {
  public:
    Listener(const pk_hooks &hooks, size_t families, std::shared_ptr<pk::Backlog> backlog)
        : hooks_(hooks), family_count_(families), backlog_(std::move(backlog)) {}

    void OnMemTableSealed(const rocksdb::MemTableInfo &) override {
        backlog_->full_memtables.fetch_add(1, std::memory_order_relaxed);
    }

    void OnFlushBegin(rocksdb::DB *db, const rocksdb::FlushJobInfo &info) override {
        if (hooks_.flush_begin) hooks_.flush_begin(hooks_.context);
        backlog_->flushes.fetch_add(1, std::memory_order_relaxed);
        uint64_t waiting = 0;
        db->GetAggregatedIntProperty(rocksdb::DB::Properties::kNumImmutableMemTable, &waiting);
        bool is_waited_for = info.flush_reason != rocksdb::FlushReason::kWriteBufferFull &&
                             info.flush_reason != rocksdb::FlushReason::kWriteBufferManager;
        if (is_waited_for || waiting > family_count_) return pk::EndPauses();
        pk::BeginPauses(backlog_, pk::BackgroundWork::kFlush);
    }

    void OnFlushCompleted(rocksdb::DB *, const rocksdb::FlushJobInfo &) override {
        pk::EndPauses();
    }

    void OnCompactionBegin(rocksdb::DB *, const rocksdb::CompactionJobInfo &info) override {
        if (info.compaction_reason == rocksdb::CompactionReason::kManualCompaction) {
            return pk::EndPauses();
        }
        pk::BeginPauses(backlog_, pk::BackgroundWork::kCompaction);
    }

    void OnCompactionCompleted(rocksdb::DB *, const rocksdb::CompactionJobInfo &) override {
        pk::EndPauses();
    }

    void OnStallConditionsChanged(const rocksdb::WriteStallInfo &info) override {
        std::lock_guard<std::mutex> guard(mutex_);
        int32_t state = info.condition.cur == rocksdb::WriteStallCondition::kStopped   ? 2
                        : info.condition.cur == rocksdb::WriteStallCondition::kDelayed ? 1
                                                                                       : 0;
        auto known = std::find_if(families_.begin(), families_.end(),
                                  [&](auto &f) { return f.first == info.cf_name; });
        if (known == families_.end()) {
            families_.emplace_back(info.cf_name, state);
        } else {
            known->second = state;
        }
        int32_t worst = 0;
        for (auto &family : families_) worst = std::max(worst, family.second);
        if (backlog_->stall.exchange(worst) != worst && hooks_.stall_changed) {
            hooks_.stall_changed(hooks_.context, worst);
        }
    }

    void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status *status) override {
        if (!hooks_.background_error) return;
        pk_error error{};
        pk::Report(*status, &error);
        hooks_.background_error(hooks_.context, error.code, error.is_no_space,
                                error.message ? error.message : "");
        pk_error_clear(&error);
    }

  private:
    pk_hooks hooks_;
    size_t family_count_;
    std::shared_ptr<pk::Backlog> backlog_;
    std::mutex mutex_;
    std::vector<std::pair<std::string, int32_t>> families_;
};

rocksdb::DBOptions StoreOptionsOf(const pk_options &from, const pk_env &env) {
    rocksdb::DBOptions options;
    options.create_if_missing = from.create_if_missing != 0;
    options.create_missing_column_families = options.create_if_missing;
    options.atomic_flush = from.write_ahead_log == 0;
    // Ours take one insertion at a time, and refuse to be opened with this.
    options.allow_concurrent_memtable_write = from.memtable_kind == PK_MEMTABLE_SKIP_LIST;
    // Close flushes by itself only a part of the families; the shim flushes all before.
    options.avoid_flush_during_shutdown = true;
    options.max_open_files = from.max_open_files;
    options.max_background_jobs = from.background_jobs;
    options.max_subcompactions = static_cast<uint32_t>(from.max_subcompactions);
    options.max_manifest_file_size = 64 << 20;
    options.bytes_per_sync = 1 << 20;
    options.compaction_readahead_size = kCompactionReadBytes;
    options.allow_mmap_reads = from.maps_files != 0;
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
    options.skip_stats_update_on_db_open = true;
    options.info_log = env.logger;
    options.write_buffer_manager = env.write_buffers;
    options.rate_limiter = env.rate_limiter;
    return options;
}

rocksdb::ColumnFamilyOptions FamilyOptionsOf(const pk_options &from, const pk_env &env,
                                             int32_t kind, size_t family,
                                             const std::shared_ptr<pk::FilterContext> &filters) {
    rocksdb::ColumnFamilyOptions options;
    options.comparator = pk::ComparatorOf(kind, family);
    if (filters) options.compaction_filter_factory = pk::FilterFactoryOf(filters, family);
    if (from.memtable_kind == PK_MEMTABLE_HASH) {
        options.memtable_factory = pk::HashMemtableFactory(options.comparator);
    }
    options.write_buffer_size = from.memtable_bytes;
    // The budget over all stores counts whole arena blocks, and a quiet family holds one.
    options.arena_block_size =
        std::min<size_t>(std::max<size_t>(from.memtable_bytes / 64, 16 << 10), 1 << 20);
    options.max_write_buffer_number = from.memtable_count;
    options.level0_file_num_compaction_trigger = from.level0_trigger;
    options.level0_slowdown_writes_trigger = from.level0_trigger + kLevel0FilesBeforeSlowing;
    options.level0_stop_writes_trigger = from.level0_trigger + kLevel0FilesBeforeStop;
    options.target_file_size_base = from.target_file_bytes;
    options.max_bytes_for_level_base = from.level_base_bytes;
    options.max_bytes_for_level_multiplier = from.level_multiplier;
    options.optimize_filters_for_hits = from.optimize_filters_for_hits != 0;
    options.disable_auto_compactions = from.disable_auto_compactions != 0;
    auto compression = static_cast<rocksdb::CompressionType>(from.compression);
    options.compression = compression;
    if (from.compression_level_count > 0) {
        for (size_t i = 0; i < from.compression_level_count; i++) {
            options.compression_per_level.push_back(
                static_cast<rocksdb::CompressionType>(from.compression_per_level[i]));
        }
    } else if (compression != rocksdb::kNoCompression) {
        options.compression_per_level.assign(7, compression);
        options.compression_per_level[0] = rocksdb::kNoCompression;
        options.compression_per_level[1] = rocksdb::kNoCompression;
    }
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = env.cache;
    table.no_block_cache = env.cache == nullptr;
    table.block_size = from.block_bytes;
    table.checksum = rocksdb::kXXH3;
    // -0.0 and 0.0 are one key with two byte forms: a filter over bytes could miss one. Nobody
    // looks up single rows there.
    if (from.bloom_bits > 0 && family != pk::kScore) {
        table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(from.bloom_bits));
        table.whole_key_filtering = true;
    }
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> Descriptors(
    const pk_options &from, const pk_env &env, int32_t kind,
    const std::shared_ptr<pk::FilterContext> &filters) {
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (size_t family = 0; family < pk::FamilyCount(kind); family++) {
        families.emplace_back(pk::FamilyName(kind, family),
                              FamilyOptionsOf(from, env, kind, family, filters));
    }
    return families;
}

}  // namespace

pk_env *pk_env_create(size_t block_cache_bytes, size_t write_buffer_bytes,
                      int64_t background_bytes_per_second, int32_t background_threads,
                      int32_t log_level, pk_log_callback log, void *log_context) {
    auto *env = new pk_env();
    if (block_cache_bytes > 0) env->cache = rocksdb::NewLRUCache(block_cache_bytes);
    // At seven eighths of its size every write to a store flushes that store, however little is in
    // it, until another store gives memory back: files of one row, and soon a stalled writer. So
    // stores that nobody writes are to be flushed long before that.
    env->write_buffers = std::make_shared<rocksdb::WriteBufferManager>(2 * write_buffer_bytes);
    if (background_bytes_per_second > 0) {
        env->rate_limiter.reset(rocksdb::NewGenericRateLimiter(background_bytes_per_second));
    }
    env->logger = std::make_shared<CallbackLogger>(
        static_cast<rocksdb::InfoLogLevel>(log_level), log, log_context);
    rocksdb::Env *threads = rocksdb::Env::Default();
    threads->IncBackgroundThreadsIfNeeded(background_threads, rocksdb::Env::LOW);
    threads->IncBackgroundThreadsIfNeeded((background_threads + 1) / 2, rocksdb::Env::HIGH);
    return env;
}

void pk_env_destroy(pk_env *env) { delete env; }

size_t pk_env_block_cache_usage(const pk_env *env) {
    return env->cache ? env->cache->GetUsage() : 0;
}

size_t pk_env_block_cache_capacity(const pk_env *env) {
    return env->cache ? env->cache->GetCapacity() : 0;
}

size_t pk_env_write_buffer_usage(const pk_env *env) { return env->write_buffers->memory_usage(); }

size_t pk_env_write_buffer_mutable(const pk_env *env) {
    return env->write_buffers->mutable_memtable_memory_usage();
}

void pk_env_set_block_cache_capacity(pk_env *env, size_t bytes) {
    if (env->cache) env->cache->SetCapacity(bytes);
}

void pk_env_set_background_rate(pk_env *env, int64_t bytes_per_second) {
    if (env->rate_limiter) env->rate_limiter->SetBytesPerSecond(bytes_per_second);
}

pk_store *pk_store_open(const char *path, int32_t kind, const pk_options *options, pk_env *env,
                        const pk_hooks *hooks, pk_error *error) {
    auto store = std::make_unique<pk_store>();
    store->kind = kind;
    store->write_ahead_log = options->write_ahead_log != 0;
    store->hash_memtables = options->memtable_kind == PK_MEMTABLE_HASH;
    store->cache = env->cache;
    store->filters = std::make_shared<pk::FilterContext>();
    store->filters->kind = kind;
    store->filters->wall_clock = options->filter_clock == 1;
    rocksdb::DBOptions db_options = StoreOptionsOf(*options, *env);
    db_options.listeners.push_back(std::make_shared<Listener>(*hooks, pk::FamilyCount(kind),
                                                              store->backlog));
    rocksdb::DB *db = nullptr;
    auto status = rocksdb::DB::Open(db_options, path,
                                    Descriptors(*options, *env, kind, store->filters),
                                    &store->handles, &db);
    if (!status.ok()) {
        pk::Report(status, error);
        return nullptr;
    }
    store->db.store(db, std::memory_order_release);
    store->filters->meta.store(store->handles[0], std::memory_order_release);
    store->filters->db.store(db, std::memory_order_release);
    return store.release();
}

pk_store *pk_store_open_read_only(const char *path, int32_t kind, pk_env *env, pk_error *error) {
    auto store = std::make_unique<pk_store>();
    store->kind = kind;
    store->write_ahead_log = true;
    store->cache = env->cache;
    store->filters = std::make_shared<pk::FilterContext>();
    pk_options options{};
    options.memtable_bytes = 8 << 20;
    options.memtable_count = 2;
    options.level0_trigger = 4;
    options.target_file_bytes = 20 << 20;
    options.level_base_bytes = 256 << 20;
    options.level_multiplier = 10;
    options.block_bytes = 4096;
    options.bloom_bits = 10;
    options.max_open_files = -1;
    options.background_jobs = 1;
    options.max_subcompactions = 1;
    options.write_ahead_log = 1;
    rocksdb::DB *db = nullptr;
    auto status = rocksdb::DB::OpenForReadOnly(StoreOptionsOf(options, *env), path,
                                               Descriptors(options, *env, kind, nullptr),
                                               &store->handles, &db);
    if (!status.ok()) {
        pk::Report(status, error);
        return nullptr;
    }
    store->db.store(db, std::memory_order_release);
    return store.release();
}

int32_t pk_store_close(pk_store *store, pk_error *error) {
    rocksdb::DB *db = store->db.exchange(nullptr, std::memory_order_acq_rel);
    if (db == nullptr) return PK_OK;
    store->backlog->is_closing.store(true, std::memory_order_relaxed);
    // Filters use the meta handle: no compaction may run when it goes.
    rocksdb::CancelAllBackgroundWork(db, true);
    store->filters->db.store(nullptr, std::memory_order_release);
    for (auto *handle : store->handles) db->DestroyColumnFamilyHandle(handle);
    store->handles.clear();
    auto status = db->Close();
    delete db;
    return pk::Report(status, error);
}

void pk_store_free(pk_store *store) {
    pk_error error{};
    pk_store_close(store, &error);
    pk_error_clear(&error);
    delete store;
}

int32_t pk_store_flush(pk_store *store, int32_t allow_write_stall, pk_error *error) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return pk::ReportClosed(error);
    rocksdb::FlushOptions options;
    options.wait = true;
    options.allow_write_stall = allow_write_stall != 0;
    // All families, always: a flush of some of them trips an assertion when one is queued
    // already, and tears the cut across families.
    return pk::Report(db->Flush(options, store->handles), error);
}

int32_t pk_store_compact(pk_store *store, pk_error *error) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return pk::ReportClosed(error);
    int32_t code = pk_store_flush(store, 1, error);
    if (code != PK_OK) return code;
    rocksdb::CompactRangeOptions options;
    options.allow_write_stall = true;
    options.exclusive_manual_compaction = false;
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
    for (auto *handle : store->handles) {
        auto status = db->CompactRange(options, handle, nullptr, nullptr);
        if (!status.ok()) return pk::Report(status, error);
    }
    return PK_OK;
}

int32_t pk_store_checkpoint(pk_store *store, const char *path, pk_error *error) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return pk::ReportClosed(error);
    rocksdb::Checkpoint *made = nullptr;
    auto status = rocksdb::Checkpoint::Create(db, &made);
    if (!status.ok()) return pk::Report(status, error);
    std::unique_ptr<rocksdb::Checkpoint> checkpoint(made);
    // 0: always flush. Any other value leaves the memtables out when the log is off.
    return pk::Report(checkpoint->CreateCheckpoint(path, 0), error);
}

int32_t pk_store_resume(pk_store *store, pk_error *error) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return pk::ReportClosed(error);
    return pk::Report(db->Resume(), error);
}

int32_t pk_store_verify_checksums(pk_store *store, pk_error *error) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return pk::ReportClosed(error);
    return pk::Report(db->VerifyChecksum(), error);
}

int32_t pk_store_identity(pk_store *store, char **text, pk_error *error) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return pk::ReportClosed(error);
    std::string identity;
    auto status = db->GetDbIdentity(identity);
    if (status.ok()) *text = strdup(identity.c_str());
    return pk::Report(status, error);
}

uint64_t pk_store_sequence(const pk_store *store) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return 0;
    return db->GetLatestSequenceNumber();
}

int32_t pk_store_property(pk_store *store, uint8_t family, const char *name, char **text) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return 0;
    std::string value;
    if (!db->GetProperty(store->handles[family], name, &value)) return 0;
    *text = strdup(value.c_str());
    return 1;
}

int32_t pk_store_int_property(pk_store *store, uint8_t family, const char *name,
                              uint64_t *value) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return 0;
    return db->GetIntProperty(store->handles[family], name, value) ? 1 : 0;
}

uint64_t pk_store_memtables_left(pk_store *store) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return 0;
    uint64_t left = 0, value = 0;
    for (auto *handle : store->handles) {
        if (db->GetIntProperty(handle, rocksdb::DB::Properties::kNumEntriesActiveMemTable,
                                      &value) &&
            value > 0) {
            left += 1;
        }
        if (db->GetIntProperty(handle, rocksdb::DB::Properties::kNumImmutableMemTable,
                                      &value)) {
            left += value;
        }
    }
    return left;
}

uint64_t pk_store_pauses(const pk_store *store) {
    return store->backlog->pauses.load(std::memory_order_relaxed);
}

int32_t pk_store_stall_state(const pk_store *store) {
    return store->backlog->stall.load(std::memory_order_relaxed);
}

int32_t pk_store_set_options(pk_store *store, int32_t whole_store,
                             const char *const *names_and_values, size_t pair_count,
                             pk_error *error) {
    rocksdb::DB *db = store->db.load(std::memory_order_acquire);
    if (db == nullptr) return pk::ReportClosed(error);
    std::unordered_map<std::string, std::string> map;
    for (size_t i = 0; i < pair_count; i++) {
        map[names_and_values[2 * i]] = names_and_values[2 * i + 1];
    }
    if (whole_store != 0) return pk::Report(db->SetDBOptions(map), error);
    for (auto *handle : store->handles) {
        auto status = db->SetOptions(handle, map);
        if (!status.ok()) return pk::Report(status, error);
    }
    return PK_OK;
}

int32_t pk_store_destroy(const char *path, int32_t kind, pk_error *error) {
    rocksdb::Options options;
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (size_t family = 0; family < pk::FamilyCount(kind); family++) {
        rocksdb::ColumnFamilyOptions family_options;
        family_options.comparator = pk::ComparatorOf(kind, family);
        families.emplace_back(pk::FamilyName(kind, family), family_options);
    }
    return pk::Report(rocksdb::DestroyDB(path, options, families), error);
}
