// Compaction filters (spec: storage-format 8) that look only at what is persisted.
//
// With RocksDB's log off a memtable may vanish, and the rows that it condemned must then still be
// there. So metas are read with kPersistedTier, and "now" is the horizon: the highest effective now
// of the persisted applied row, less 2 s. Replay from that row can only see later times.
#include <algorithm>
#include <cstring>
#include <ctime>

#include <rocksdb/compaction_filter.h>

#include "Internal.hpp"

namespace {

using rocksdb::Slice;
using pk::FilterContext;

constexpr char kReservedName[] = "\0pika-swift:applied";
constexpr size_t kReservedNameLength = sizeof kReservedName - 1;
constexpr int64_t kClockSlackSeconds = 2;

// The applied row: 8 zero bytes, then the payload, which begins with the format version 1.
constexpr size_t kAppliedRowSize = 104, kPayload = 8;
constexpr size_t kFileNumber = 40, kOffset = 48, kNow = 56;

template <typename T>
T Load(const char *p) {
    T value;
    memcpy(&value, p, sizeof value);
    return value;
}

bool IsAppliedRow(const Slice &value) {
    return value.size() == kAppliedRowSize && Load<uint32_t>(value.data() + kPayload) == 1;
}

// Count, version and expiry of a collection's meta row; both ends are read, since Pika may have
// written over a longer value.
struct Meta {
    bool empty = false;
    int32_t version = 0;
    int32_t expiry = 0;

    bool Parse(int32_t kind, const Slice &value) {
        if (kind == pk::kLists) {
            if (value.size() < 32) return false;
            empty = Load<uint64_t>(value.data()) == 0;
            version = Load<int32_t>(value.data() + value.size() - 24);
            expiry = Load<int32_t>(value.data() + value.size() - 20);
            return true;
        }
        if (value.size() < 12) return false;
        empty = Load<int32_t>(value.data()) == 0;
        version = Load<int32_t>(value.data() + value.size() - 8);
        expiry = Load<int32_t>(value.data() + value.size() - 4);
        return true;
    }

    bool Stale(int64_t now) const { return expiry != 0 && expiry < now; }
};

// The applied row as a crash would leave it.
bool PersistedRow(const FilterContext &context, rocksdb::PinnableSlice *value) {
    rocksdb::DB *db = context.db.load(std::memory_order_acquire);
    if (db == nullptr) return false;
    rocksdb::ReadOptions options;
    options.read_tier = rocksdb::kPersistedTier;
    return db->Get(options, context.meta.load(std::memory_order_acquire), pk::ReservedName(), value)
        .ok();
}

// Whether empty metas stay: a filter that would see the absence of one drops what is to be seen.
// The files of a compaction are chosen before its filters are made: those that hold rows which are
// written later are not among them.
bool KeepsEmptyMetas(FilterContext &context) {
    pk::LogPosition end;
    {
        std::lock_guard<std::mutex> guard(context.unseen.mutex);
        if (context.unseen.writers > 0) return true;
        end = context.unseen.end;
    }
    if (end == pk::LogPosition{0, 0}) return false;
    rocksdb::PinnableSlice value;
    pk::LogPosition position;
    return !PersistedRow(context, &value) || !pk::Position(value, &position) || position < end;
}

// The clock of one compaction; `known` is false when nothing may be dropped by time.
struct Clock {
    bool known = false;
    int64_t now = 0;

    explicit Clock(const FilterContext &context) {
        if (context.wall_clock) {
            known = true;
            now = static_cast<int64_t>(time(nullptr));
            return;
        }
        rocksdb::PinnableSlice value;
        if (!PersistedRow(context, &value) || !pk::HighestEffectiveNow(value, &now)) return;
        now -= kClockSlackSeconds;
        known = true;
    }
};

class StringsFilter : public rocksdb::CompactionFilter {
  public:
    explicit StringsFilter(Clock clock) : clock_(clock) {}
    const char *Name() const override { return "StringsFilter"; }

    bool Filter(int, const Slice &key, const Slice &value, std::string *, bool *) const override {
        pk::Step();
        if (!clock_.known || value.size() < 4 || pk::IsReservedName(key)) return false;
        int32_t expiry = Load<int32_t>(value.data() + value.size() - 4);
        return expiry != 0 && expiry < clock_.now;
    }

  private:
    Clock clock_;
};

class MetaFilter : public rocksdb::CompactionFilter {
  public:
    MetaFilter(int32_t kind, Clock clock, bool keeps_empty)
        : kind_(kind), clock_(clock), keeps_empty_(keeps_empty) {}
    const char *Name() const override {
        return kind_ == pk::kLists ? "ListsMetaFilter" : "BaseMetaFilter";
    }

    bool Filter(int, const Slice &key, const Slice &value, std::string *, bool *) const override {
        pk::Step();
        Meta meta;
        if (!clock_.known || pk::IsReservedName(key) || !meta.Parse(kind_, value)) return false;
        if (meta.empty && keeps_empty_) return false;
        return (meta.Stale(clock_.now) || meta.empty) && meta.version < clock_.now;
    }

  private:
    int32_t kind_;
    Clock clock_;
    bool keeps_empty_;
};

class DataFilter : public rocksdb::CompactionFilter {
  public:
    DataFilter(std::shared_ptr<FilterContext> context, const char *name)
        : context_(std::move(context)), name_(name), clock_(*context_) {}
    const char *Name() const override { return name_; }

    bool Filter(int, const Slice &row, const Slice &, std::string *, bool *) const override {
        pk::Step();
        if (row.size() < 8) return false;
        size_t length = Load<uint32_t>(row.data());
        if (row.size() - 8 < length) return false;
        Slice key(row.data() + 4, length);
        if (!cached_ || key != Slice(cached_key_)) Look(key);
        if (failed_) return false;
        if (absent_) return true;
        if (clock_.known && meta_.Stale(clock_.now)) return true;
        return meta_.version > Load<int32_t>(row.data() + 4 + length);
    }

  private:
    // Once per run of rows of one key.
    void Look(const Slice &key) const {
        cached_key_.assign(key.data(), key.size());
        cached_ = true;
        absent_ = false;
        failed_ = true;
        rocksdb::DB *db = context_->db.load(std::memory_order_acquire);
        if (db == nullptr) {
            cached_ = false;
            return;
        }
        rocksdb::ReadOptions options;
        if (!context_->wall_clock) options.read_tier = rocksdb::kPersistedTier;
        rocksdb::PinnableSlice value;
        auto status =
            db->Get(options, context_->meta.load(std::memory_order_acquire), key, &value);
        if (status.IsNotFound()) {
            absent_ = true;
            failed_ = false;
        } else if (status.ok()) {
            failed_ = !meta_.Parse(context_->kind, value);
        }
    }

    std::shared_ptr<FilterContext> context_;
    const char *name_;
    Clock clock_;
    // A filter object serves one (sub)compaction, on one thread.
    mutable bool cached_ = false;
    mutable bool absent_ = false;
    mutable bool failed_ = false;
    mutable std::string cached_key_;
    mutable Meta meta_;
};

class Factory : public rocksdb::CompactionFilterFactory {
  public:
    Factory(std::shared_ptr<FilterContext> context, size_t family)
        : context_(std::move(context)), family_(family) {}
    const char *Name() const override { return "PikaFilterFactory"; }

    std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
        const rocksdb::CompactionFilter::Context &) override {
        int32_t kind = context_->kind;
        if (family_ == pk::kMeta) {
            Clock clock(*context_);
            if (kind == pk::kStrings) return std::make_unique<StringsFilter>(clock);
            return std::make_unique<MetaFilter>(kind, clock, KeepsEmptyMetas(*context_));
        }
        const char *name = family_ == pk::kScore ? "ZSetsScoreFilter"
                           : kind == pk::kLists  ? "ListsDataFilter"
                                                 : "BaseDataFilter";
        return std::make_unique<DataFilter>(context_, name);
    }

  private:
    std::shared_ptr<FilterContext> context_;
    size_t family_;
};

}  // namespace

namespace pk {

rocksdb::Slice ReservedName() { return Slice(kReservedName, kReservedNameLength); }

bool IsReservedName(const Slice &key) {
    return key == ReservedName() || key.starts_with(Slice(PK_UNSEEN_NAME, PK_UNSEEN_NAME_LENGTH));
}

bool Position(const Slice &value, LogPosition *position) {
    if (!IsAppliedRow(value)) return false;
    *position = {Load<uint64_t>(value.data() + kPayload + kFileNumber),
                 Load<uint64_t>(value.data() + kPayload + kOffset)};
    return true;
}

bool HighestEffectiveNow(const Slice &value, int64_t *seconds) {
    if (!IsAppliedRow(value)) return false;
    *seconds = Load<int64_t>(value.data() + kPayload + kNow);
    return true;
}

std::shared_ptr<rocksdb::CompactionFilterFactory> FilterFactoryOf(
    std::shared_ptr<FilterContext> context, size_t family) {
    return std::make_shared<Factory>(std::move(context), family);
}

}  // namespace pk

void pk_store_unseen_begin(pk_store *store) {
    pk::UnseenRows &unseen = store->filters->unseen;
    std::lock_guard<std::mutex> guard(unseen.mutex);
    unseen.writers += 1;
}

void pk_store_unseen_end(pk_store *store, uint32_t file_number, uint64_t offset) {
    pk::UnseenRows &unseen = store->filters->unseen;
    std::lock_guard<std::mutex> guard(unseen.mutex);
    unseen.writers -= 1;
    unseen.end = std::max(unseen.end, pk::LogPosition{file_number, offset});
}
