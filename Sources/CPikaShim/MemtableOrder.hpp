// The order of a memtable's entries, made for those who iterate.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include <rocksdb/comparator.h>
#include <rocksdb/slice.h>

namespace pk::memtable {

// What RocksDB packs into a memtable: the user key, and sequence number and type in one number. Of
// two entries of a key the newer one, with the larger number, comes first.
struct InternalKey {
    rocksdb::Slice user;
    uint64_t packed;
};

// Of | user key | packed u64 |.
inline InternalKey SplitInternalKey(const rocksdb::Slice &key) {
    InternalKey split{rocksdb::Slice(key.data(), key.size() - 8), 0};
    memcpy(&split.packed, key.data() + key.size() - 8, 8);
    return split;
}

// Of | varint32 length | user key | packed u64 | ... |.
inline InternalKey KeyOfEntry(const char *entry) {
    uint32_t length = 0;
    auto *byte = reinterpret_cast<const unsigned char *>(entry);
    for (uint32_t shift = 0;; shift += 7) {
        length |= (*byte & 127u) << shift;
        if (*byte++ < 128) break;
    }
    return SplitInternalKey(rocksdb::Slice(reinterpret_cast<const char *>(byte), length));
}

// The order of internal keys over the family's comparator.
class Order {
  public:
    explicit Order(const rocksdb::Comparator *comparator)
        : comparator_(comparator == rocksdb::BytewiseComparator() ? nullptr : comparator) {}

    bool bytewise() const { return comparator_ == nullptr; }

    int Compare(const InternalKey &a, const InternalKey &b) const {
        int order = comparator_ ? comparator_->Compare(a.user, b.user) : a.user.compare(b.user);
        if (order != 0) return order;
        return a.packed > b.packed ? -1 : a.packed < b.packed ? 1 : 0;
    }

    bool Less(const char *a, const char *b) const {
        return Compare(KeyOfEntry(a), KeyOfEntry(b)) < 0;
    }

  private:
    // Null for the bytewise one.
    const rocksdb::Comparator *comparator_;
};

// Entries in order; never changed.
using Run = std::vector<const char *>;

// Sorts entries.
void Sort(const Order &order, Run *entries);

// All entries of a memtable up to one moment: a few runs, each at least kRunGrowth times as long as
// the next one.
struct View {
    // The newest of the entries, as the memtable numbers them.
    const void *newest = nullptr;
    std::vector<std::shared_ptr<const Run>> runs;

    // The same with `fresh` entries, in any order.
    std::shared_ptr<const View> With(const Order &order, Run fresh, const void *newest) const;
};

// With 4, entries are merged few times, and a million of them are ten runs at most.
constexpr size_t kRunGrowth = 4;
// Runs of a view; beyond it they are merged whatever their lengths.
constexpr size_t kRunLimit = 16;

// A place in a view.
class Cursor {
  public:
    Cursor(const Order &order, std::shared_ptr<const View> view);

    bool Valid() const { return current_ >= 0; }
    const char *Entry() const { return At(current_); }
    void Next();
    void Prev();
    // The first entry that is not before `key`, the last one that is not behind it.
    void Seek(const InternalKey &key);
    void SeekForPrev(const InternalKey &key);
    void SeekToFirst();
    void SeekToLast();

  private:
    const char *At(int run) const { return (*view_->runs[run])[places_[run]]; }
    bool HasEntry(int run) const {
        return places_[run] >= 0 && places_[run] < static_cast<int64_t>(view_->runs[run]->size());
    }
    // Whether the entry of run `a` comes first in the direction of travel.
    bool Leads(int a, int b) const {
        return forward_ ? order_.Less(At(a), At(b)) : order_.Less(At(b), At(a));
    }
    void Step();
    void Choose();
    void Turn();

    Order order_;
    std::shared_ptr<const View> view_;
    int runs_;
    // Forward: each run stands at its first entry that is not before the current one; backward: at
    // its last one that is not behind it.
    int64_t places_[kRunLimit];
    bool forward_ = true;
    int current_ = -1;
    // The run whose entry comes next after the current one's, -1: none.
    int second_ = -1;
};

}  // namespace pk::memtable
