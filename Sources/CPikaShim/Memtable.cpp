// A memtable that finds single rows by hash, and puts rows in order when somebody iterates.
//
// RocksDB's skip list pays for order with every insertion: a dozen comparisons with entries that
// are not in the cache. Most of our rows are only ever read one by one, and a flush can sort them
// on its own thread. So an insertion links the entry to the older one of its row, if any, in an
// open-addressing table, and to the entry that was inserted before it. An iterator works on a view:
// sorted runs, made of what was inserted since the last view.
//
// One thread inserts at a time; any number may read meanwhile. A reader sees at least what was
// inserted before its sequence number was published, and skips what is newer.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <vector>

#include <rocksdb/memtablerep.h>
#include <xxhash.h>

#include "Internal.hpp"
#include "MemtableOrder.hpp"

namespace {

using pk::memtable::Cursor;
using pk::memtable::InternalKey;
using pk::memtable::KeyOfEntry;
using pk::memtable::Order;
using pk::memtable::Run;
using pk::memtable::SplitInternalKey;
using pk::memtable::View;
using rocksdb::Slice;

// In front of each entry, in RocksDB's arena.
struct Node {
    // The next older entry of the same row.
    std::atomic<Node *> older{nullptr};
    // The entry inserted before this one.
    Node *previous = nullptr;

    char *Entry() { return reinterpret_cast<char *>(this + 1); }
    const char *Entry() const { return reinterpret_cast<const char *>(this + 1); }
};

// A slot holds the address of a row's newest entry, and above it 16 bits of the row's hash.
constexpr int kTagShift = 48;
constexpr uint64_t kAddressMask = (uint64_t{1} << kTagShift) - 1;
constexpr uint64_t kTagMask = ~kAddressMask;

Node *NodeOf(uint64_t slot) { return reinterpret_cast<Node *>(slot & kAddressMask); }

// Slots follow; a power of two of them.
struct Table {
    size_t mask;
    // Slots in use.
    size_t rows = 0;

    std::atomic<uint64_t> *Slots() { return reinterpret_cast<std::atomic<uint64_t> *>(this + 1); }
    const std::atomic<uint64_t> *Slots() const {
        return reinterpret_cast<const std::atomic<uint64_t> *>(this + 1);
    }
};

// Rows from this size on get memory that was made ready for them, if there is some.
constexpr size_t kLargeRowBytes = 1 << 20;

// Memory that was written to once. A large value is copied into a memtable while other writers wait,
// and the most of that would be the kernel's, which finds memory page by page: so whoever is about to
// write a large batch makes memory ready before it has the lock.
class ReadyMemory {
  public:
    static ReadyMemory &Shared() {
        static ReadyMemory memory;
        return memory;
    }

    void Add(std::unique_ptr<char[]> block, size_t bytes) {
        std::lock_guard<std::mutex> guard(mutex_);
        if (blocks_.size() == kBlocks) blocks_.erase(blocks_.begin());
        blocks_.push_back({std::move(block), bytes});
    }

    void Clear() {
        std::lock_guard<std::mutex> guard(mutex_);
        blocks_.clear();
    }

    // The smallest that is large enough and not much too large; null if there is none.
    std::unique_ptr<char[]> Take(size_t bytes, size_t *size) {
        std::lock_guard<std::mutex> guard(mutex_);
        auto best = blocks_.end();
        for (auto block = blocks_.begin(); block != blocks_.end(); ++block) {
            if (block->size < bytes || block->size > bytes + kLargeRowBytes) continue;
            if (best == blocks_.end() || block->size < best->size) best = block;
        }
        if (best == blocks_.end()) return nullptr;
        *size = best->size;
        auto memory = std::move(best->memory);
        blocks_.erase(best);
        return memory;
    }

  private:
    struct Block {
        std::unique_ptr<char[]> memory;
        size_t size;
    };
    static constexpr size_t kBlocks = 4;

    std::mutex mutex_;
    std::vector<Block> blocks_;
};

constexpr size_t kFirstSlots = 64;
// A new memtable begins with a table for as many rows as the last one held, up to this many slots.
constexpr size_t kFirstSlotsLimit = 1 << 18;
// More rows than that are not believed beforehand.
constexpr size_t kExpectedRowsLimit = 1 << 20;

// Names chosen by a client must not meet in one slot.
uint64_t Seed() {
    static const uint64_t seed = [] {
        std::random_device random;
        return uint64_t{random()} << 32 | random();
    }();
    return seed;
}

uint64_t HashOf(const Slice &user_key) {
    return XXH3_64bits_withSeed(user_key.data(), user_key.size(), Seed());
}

// Memory of iterators. RocksDB runs the destructor of an iterator that it wants in its arena, and
// does not give the memory back; the arena's own header is not a public one. So the destructor
// hands the memory to its thread, which uses it again.
class Recycler {
  public:
    explicit Recycler(size_t size) : size_(size) {}
    ~Recycler() {
        while (count_ > 0) ::operator delete(blocks_[--count_]);
    }

    void *Take() { return count_ > 0 ? blocks_[--count_] : ::operator new(size_); }

    // The object in `block` may still be in its destructor: the block is used by this thread alone,
    // and another one is freed where there are too many.
    void Keep(void *block) {
        if (count_ == kKept) ::operator delete(blocks_[--count_]);
        blocks_[count_++] = block;
    }

  private:
    static constexpr size_t kKept = 16;

    size_t size_;
    void *blocks_[kKept];
    size_t count_ = 0;
};

// Goes through a view.
class OrderedIterator final : public rocksdb::MemTableRep::Iterator {
  public:
    static OrderedIterator *Make(bool in_arena, const Order &order,
                                 std::shared_ptr<const View> view) {
        return new (Memory().Take()) OrderedIterator(in_arena, order, std::move(view));
    }
    ~OrderedIterator() override {
        if (in_arena_) Memory().Keep(this);
    }
    static void *operator new(size_t, void *memory) { return memory; }
    static void operator delete(void *memory) { Memory().Keep(memory); }

    bool Valid() const override { return cursor_.Valid(); }
    const char *key() const override { return cursor_.Entry(); }
    void Next() override {
        pk::Step();
        cursor_.Next();
    }
    void Prev() override { cursor_.Prev(); }
    void Seek(const Slice &key, const char *entry) override {
        cursor_.Seek(entry ? KeyOfEntry(entry) : SplitInternalKey(key));
    }
    void SeekForPrev(const Slice &key, const char *entry) override {
        cursor_.SeekForPrev(entry ? KeyOfEntry(entry) : SplitInternalKey(key));
    }
    void SeekToFirst() override { cursor_.SeekToFirst(); }
    void SeekToLast() override { cursor_.SeekToLast(); }

  private:
    OrderedIterator(bool in_arena, const Order &order, std::shared_ptr<const View> view)
        : in_arena_(in_arena), cursor_(order, std::move(view)) {}

    static Recycler &Memory() {
        thread_local Recycler memory(sizeof(OrderedIterator));
        return memory;
    }

    // RocksDB will run the destructor only.
    bool in_arena_;
    Cursor cursor_;
};

class HashRep;

// The entries of one row, newest first, or, with a cursor, whatever follows the row's newest one:
// what MemTableRep::Get goes through.
class RowIterator final : public rocksdb::MemTableRep::Iterator {
  public:
    RowIterator(const HashRep *rep, Cursor *cursor) : rep_(rep), cursor_(cursor) {}
    // RocksDB 7.8 does not delete what it got; a release that did would find nothing to free.
    static void operator delete(void *) {}

    bool Valid() const override { return cursor_ ? cursor_->Valid() : node_ != nullptr; }
    const char *key() const override { return cursor_ ? cursor_->Entry() : node_->Entry(); }
    void Next() override {
        if (cursor_) return cursor_->Next();
        node_ = node_->older.load(std::memory_order_acquire);
    }
    void Seek(const Slice &key, const char *entry) override;
    // A row has no neighbours here.
    void Prev() override { node_ = nullptr; }
    void SeekForPrev(const Slice &, const char *) override { node_ = nullptr; }
    void SeekToFirst() override { node_ = nullptr; }
    void SeekToLast() override { node_ = nullptr; }

  private:
    const HashRep *rep_;
    Cursor *cursor_;
    const Node *node_ = nullptr;
};

// The iterator of the Get that this thread is in.
thread_local RowIterator *current_get = nullptr;

// How many rows the last memtable of a family had.
using RowCount = std::atomic<size_t>;

class HashRep final : public rocksdb::MemTableRep {
  public:
    // Without an index, for families where keys of different bytes are equal, single rows are
    // found by order.
    HashRep(rocksdb::Allocator *allocator, const Order &order, bool indexed,
            std::shared_ptr<RowCount> rows_before)
        : MemTableRep(allocator),
          order_(order),
          indexed_(indexed),
          rows_before_(std::move(rows_before)),
          view_(std::make_shared<const View>()) {}

    rocksdb::KeyHandle Allocate(const size_t length, char **buffer) override {
        Node *node = new (AllocateRow(sizeof(Node) + length)) Node;
        *buffer = node->Entry();
        return node;
    }

    void Insert(rocksdb::KeyHandle handle) override {
        Node *node = static_cast<Node *>(handle);
        if (indexed_) Index(node);
        node->previous = newest_.load(std::memory_order_relaxed);
        newest_.store(node, std::memory_order_release);
    }

    bool Contains(const char *entry) const override {
        InternalKey key = KeyOfEntry(entry);
        if (!indexed_) {
            Cursor cursor(order_, CurrentView());
            cursor.Seek(key);
            return cursor.Valid() && order_.Compare(KeyOfEntry(cursor.Entry()), key) == 0;
        }
        const Node *node = Find(key);
        return node && KeyOfEntry(node->Entry()).packed == key.packed;
    }

    void MarkReadOnly() override {
        const Table *table = table_.load(std::memory_order_relaxed);
        size_t rows = table ? table->rows : 0;
        // A quiet time must not make the next busy one begin small at once.
        rows_before_->store(std::max(rows, rows_before_->load(std::memory_order_relaxed) / 2),
                            std::memory_order_relaxed);
    }

    // Nodes and tables lie in RocksDB's arena, which counts them, but for large rows. Views, 8 bytes
    // per entry, may be made when the memtable is no longer written to, and RocksDB holds that it does
    // not grow then.
    size_t ApproximateMemoryUsage() override { return large_bytes_; }

    Iterator *GetIterator(rocksdb::Arena *arena) override {
        return OrderedIterator::Make(arena != nullptr, order_, CurrentView());
    }

    // LookupKey's header is not a public one, but the base class can read it: it asks for an
    // iterator, and seeks.
    void Get(const rocksdb::LookupKey &key, void *arguments,
             bool (*callback)(void *, const char *)) override {
        std::optional<Cursor> cursor;
        if (!indexed_) cursor.emplace(order_, CurrentView());
        RowIterator row(this, cursor ? &*cursor : nullptr);
        current_get = &row;
        MemTableRep::Get(key, arguments, callback);
        current_get = nullptr;
    }

    // Without a prefix extractor only MemTableRep::Get asks for it.
    Iterator *GetDynamicPrefixIterator(rocksdb::Arena *arena) override {
        if (current_get != nullptr) return current_get;
        return GetIterator(arena);
    }

    // The newest entry of the row that is not newer than the key.
    const Node *Find(const InternalKey &key) const {
        const Table *table = table_.load(std::memory_order_acquire);
        if (table == nullptr) return nullptr;
        uint64_t hash = HashOf(key.user);
        for (size_t place = hash & table->mask;; place = (place + 1) & table->mask) {
            uint64_t slot = table->Slots()[place].load(std::memory_order_acquire);
            if (slot == 0) return nullptr;
            if ((slot ^ hash) & kTagMask) continue;
            const Node *node = NodeOf(slot);
            InternalKey found = KeyOfEntry(node->Entry());
            if (found.user != key.user) continue;
            while (node && KeyOfEntry(node->Entry()).packed > key.packed) {
                node = node->older.load(std::memory_order_acquire);
            }
            return node;
        }
    }

  private:
    // The base class gives memory of RocksDB's arena, not aligned.
    void *AllocateAligned(size_t bytes) {
        char *memory = nullptr;
        MemTableRep::Allocate(bytes + alignof(Node) - 1, &memory);
        auto address = reinterpret_cast<uintptr_t>(memory);
        return memory + (-address & (alignof(Node) - 1));
    }

    void *AllocateRow(size_t bytes) {
        if (bytes >= kLargeRowBytes) {
            size_t size = 0;
            if (auto memory = ReadyMemory::Shared().Take(bytes, &size)) {
                large_rows_.push_back(std::move(memory));
                large_bytes_ += size;
                return large_rows_.back().get();
            }
        }
        return AllocateAligned(bytes);
    }

    void Index(Node *node) {
        Table *table = table_.load(std::memory_order_relaxed);
        // At most three of four slots are in use.
        if (table == nullptr || (table->rows + 1) * 4 > (table->mask + 1) * 3) table = Grow(table);
        InternalKey key = KeyOfEntry(node->Entry());
        uint64_t hash = HashOf(key.user);
        uint64_t entry = reinterpret_cast<uint64_t>(node) | (hash & kTagMask);
        for (size_t place = hash & table->mask;; place = (place + 1) & table->mask) {
            std::atomic<uint64_t> &slot = table->Slots()[place];
            uint64_t there = slot.load(std::memory_order_relaxed);
            if (there == 0) {
                table->rows += 1;
                slot.store(entry, std::memory_order_release);
                return;
            }
            if ((there ^ hash) & kTagMask) continue;
            InternalKey newest = KeyOfEntry(NodeOf(there)->Entry());
            if (newest.user != key.user) continue;
            if (newest.packed < key.packed) {
                node->older.store(NodeOf(there), std::memory_order_relaxed);
                slot.store(entry, std::memory_order_release);
            } else {
                InsertBehind(NodeOf(there), node, key.packed);
            }
            return;
        }
    }

    // Rows come in the order of their sequence numbers; this holds where they do not.
    static void InsertBehind(Node *newer, Node *node, uint64_t packed) {
        Node *older = newer->older.load(std::memory_order_relaxed);
        while (older && KeyOfEntry(older->Entry()).packed > packed) {
            newer = older;
            older = newer->older.load(std::memory_order_relaxed);
        }
        node->older.store(older, std::memory_order_relaxed);
        newer->older.store(node, std::memory_order_release);
    }

    // A larger table. Readers may still be in the old one, which lacks only what is newer than
    // they may see; it stays until the memtable goes.
    Table *Grow(Table *old) {
        size_t count = old ? (old->mask + 1) * 2 : kFirstSlots;
        if (!old) {
            size_t rows = rows_before_->load(std::memory_order_relaxed);
            while (rows * 4 > count * 3 && count < kFirstSlotsLimit) count *= 2;
        }
        // Of a large batch, whose rows would else be moved at each doubling while others wait.
        size_t expected = (old ? old->rows : 0) + std::min(pk::expected_rows, kExpectedRowsLimit);
        while (expected * 4 > count * 3) count *= 2;
        auto *table = new (AllocateAligned(sizeof(Table) + count * sizeof(uint64_t))) Table;
        table->mask = count - 1;
        for (size_t i = 0; i < count; i++) new (table->Slots() + i) std::atomic<uint64_t>(0);
        for (size_t i = 0; old && i <= old->mask; i++) {
            uint64_t slot = old->Slots()[i].load(std::memory_order_relaxed);
            if (slot == 0) continue;
            size_t place = HashOf(KeyOfEntry(NodeOf(slot)->Entry()).user) & table->mask;
            while (table->Slots()[place].load(std::memory_order_relaxed) != 0) {
                place = (place + 1) & table->mask;
            }
            table->Slots()[place].store(slot, std::memory_order_relaxed);
        }
        table->rows = old ? old->rows : 0;
        table_.store(table, std::memory_order_release);
        return table;
    }

    std::shared_ptr<const View> CurrentView() const {
        std::unique_lock<std::mutex> guard(view_mutex_);
        const Node *newest = newest_.load(std::memory_order_acquire);
        if (view_->newest == newest) return view_;
        if (!pk::HasPauses()) {
            view_ = Newer(*view_, newest);
            return view_;
        }
        // Nobody else may wait for the pauses of a flush.
        std::shared_ptr<const View> before = view_;
        guard.unlock();
        auto view = Newer(*before, newest);
        guard.lock();
        if (view_ == before) view_ = view;
        return view;
    }

    std::shared_ptr<const View> Newer(const View &view, const Node *newest) const {
        Run fresh;
        for (const Node *node = newest; node != view.newest; node = node->previous) {
            pk::Step();
            fresh.push_back(node->Entry());
        }
        return view.With(order_, std::move(fresh), newest);
    }

    const Order order_;
    const bool indexed_;
    const std::shared_ptr<RowCount> rows_before_;
    std::vector<std::unique_ptr<char[]>> large_rows_;
    std::atomic<size_t> large_bytes_{0};
    std::atomic<Table *> table_{nullptr};
    std::atomic<Node *> newest_{nullptr};
    mutable std::mutex view_mutex_;
    mutable std::shared_ptr<const View> view_;
};

void RowIterator::Seek(const Slice &key, const char *) {
    if (cursor_) return cursor_->Seek(SplitInternalKey(key));
    node_ = rep_->Find(SplitInternalKey(key));
}

class HashRepFactory final : public rocksdb::MemTableRepFactory {
  public:
    explicit HashRepFactory(const rocksdb::Comparator *comparator)
        : order_(comparator),
          indexed_(!comparator->CanKeysWithDifferentByteContentsBeEqual()),
          rows_before_(std::make_shared<RowCount>(0)) {}

    using MemTableRepFactory::CreateMemTableRep;
    rocksdb::MemTableRep *CreateMemTableRep(const rocksdb::MemTableRep::KeyComparator &,
                                            rocksdb::Allocator *allocator,
                                            const rocksdb::SliceTransform *,
                                            rocksdb::Logger *) override {
        return new HashRep(allocator, order_, indexed_, rows_before_);
    }
    const char *Name() const override { return "PikaHashMemtable"; }

  private:
    Order order_;
    bool indexed_;
    std::shared_ptr<RowCount> rows_before_;
};

}  // namespace

thread_local size_t pk::expected_rows = 0;

void pk::DropReadyMemory() { ReadyMemory::Shared().Clear(); }

void pk::MakeMemoryReady(size_t row_bytes) {
    if (row_bytes < kLargeRowBytes) return;
    // RocksDB puts lengths and a sequence number beside key and value.
    constexpr size_t kAroundRow = 64;
    size_t bytes = sizeof(Node) + row_bytes + kAroundRow;
    std::unique_ptr<char[]> memory(new (std::nothrow) char[bytes]);
    if (!memory) return;
    memset(memory.get(), 0, bytes);
    ReadyMemory::Shared().Add(std::move(memory), bytes);
}

std::shared_ptr<rocksdb::MemTableRepFactory> pk::HashMemtableFactory(
    const rocksdb::Comparator *comparator) {
    return std::make_shared<HashRepFactory>(comparator);
}
