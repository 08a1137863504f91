#include "MemtableOrder.hpp"

#include <algorithm>

#include "Pauses.hpp"

namespace pk::memtable {

namespace {

// Below this many entries the words do not pay.
constexpr size_t kPlainSortLimit = 32;
// Keys that agree in so many bytes are compared as a whole.
constexpr size_t kWordDepthLimit = 128;

struct Keyed {
    uint64_t word;
    const char *entry;
};

// Eight bytes of a user key as a number in their order; zeros behind its end.
uint64_t WordAt(const rocksdb::Slice &key, size_t depth) {
    unsigned char bytes[8] = {};
    if (depth < key.size()) {
        memcpy(bytes, key.data() + depth, std::min<size_t>(8, key.size() - depth));
    }
    uint64_t word = 0;
    for (unsigned char byte : bytes) word = word << 8 | byte;
    return word;
}

void PlainSort(const Order &order, Keyed *first, Keyed *last) {
    auto less = [&](const Keyed &a, const Keyed &b) {
        pk::Step();
        return order.Less(a.entry, b.entry);
    };
    // Versions of one row, and pushes to one list, come in order or against it.
    if (std::is_sorted(first, last, less)) return;
    std::reverse(first, last);
    if (std::is_sorted(first, last, less)) return;
    std::sort(first, last, less);
}

// Bytewise: by eight bytes at a time, which stay in the cache while entries do not. All entries
// agree in their first `depth` bytes.
void WordSort(const Order &order, Keyed *first, Keyed *last, size_t depth) {
    for (;; depth += 8) {
        if (static_cast<size_t>(last - first) <= kPlainSortLimit || depth >= kWordDepthLimit) {
            return PlainSort(order, first, last);
        }
        bool all_longer = true;
        uint64_t smallest = UINT64_MAX, largest = 0;
        for (Keyed *at = first; at != last; at++) {
            pk::Step();
            rocksdb::Slice key = KeyOfEntry(at->entry).user;
            at->word = WordAt(key, depth);
            all_longer = all_longer && key.size() >= depth + 8;
            smallest = std::min(smallest, at->word);
            largest = std::max(largest, at->word);
        }
        if (smallest != largest) break;
        // One that ends here has the word of one that goes on with zeros.
        if (!all_longer) return PlainSort(order, first, last);
    }
    std::sort(first, last, [](const Keyed &a, const Keyed &b) {
        pk::Step();
        return a.word < b.word;
    });
    for (Keyed *start = first; start != last;) {
        Keyed *end = start + 1;
        bool all_longer = KeyOfEntry(start->entry).user.size() >= depth + 8;
        for (; end != last && end->word == start->word; end++) {
            all_longer = all_longer && KeyOfEntry(end->entry).user.size() >= depth + 8;
        }
        if (end - start > 1) {
            if (all_longer) {
                WordSort(order, start, end, depth + 8);
            } else {
                PlainSort(order, start, end);
            }
        }
        start = end;
    }
}

std::shared_ptr<const Run> Merged(const Order &order, const Run &a, const Run &b) {
    auto merged = std::make_shared<Run>(a.size() + b.size());
    std::merge(a.begin(), a.end(), b.begin(), b.end(), merged->begin(),
               [&](const char *x, const char *y) {
                   pk::Step();
                   return order.Less(x, y);
               });
    return merged;
}

}  // namespace

void Sort(const Order &order, Run *entries) {
    std::vector<Keyed> keyed;
    keyed.reserve(entries->size());
    for (const char *entry : *entries) keyed.push_back(Keyed{0, entry});
    Keyed *first = keyed.data(), *last = first + keyed.size();
    if (order.bytewise()) {
        WordSort(order, first, last, 0);
    } else {
        PlainSort(order, first, last);
    }
    for (size_t i = 0; i < keyed.size(); i++) (*entries)[i] = keyed[i].entry;
}

std::shared_ptr<const View> View::With(const Order &order, Run fresh, const void *newest) const {
    Sort(order, &fresh);
    auto view = std::make_shared<View>();
    view->newest = newest;
    view->runs = runs;
    view->runs.push_back(std::make_shared<const Run>(std::move(fresh)));
    auto &all = view->runs;
    while (all.size() > 1 && (all[all.size() - 2]->size() < kRunGrowth * all.back()->size() ||
                              all.size() > kRunLimit)) {
        auto merged = Merged(order, *all[all.size() - 2], *all.back());
        all.pop_back();
        all.back() = std::move(merged);
    }
    return view;
}

Cursor::Cursor(const Order &order, std::shared_ptr<const View> view)
    : order_(order), view_(std::move(view)), runs_(static_cast<int>(view_->runs.size())) {}

void Cursor::Next() {
    if (!forward_) Turn();
    places_[current_] += 1;
    Step();
}

void Cursor::Prev() {
    if (forward_) Turn();
    places_[current_] -= 1;
    Step();
}

// Goes on in the same run as long as it leads.
void Cursor::Step() {
    if (HasEntry(current_) && (second_ < 0 || Leads(current_, second_))) return;
    Choose();
}

void Cursor::Choose() {
    current_ = second_ = -1;
    for (int run = 0; run < runs_; run++) {
        if (!HasEntry(run)) continue;
        if (current_ < 0 || Leads(run, current_)) {
            second_ = current_;
            current_ = run;
        } else if (second_ < 0 || Leads(run, second_)) {
            second_ = run;
        }
    }
}

// No two entries are equal: the other runs' neighbours of the current entry lie side by side.
void Cursor::Turn() {
    for (int run = 0; run < runs_; run++) {
        if (run != current_) places_[run] += forward_ ? -1 : 1;
    }
    forward_ = !forward_;
    int stays = current_;
    second_ = -1;
    for (int run = 0; run < runs_; run++) {
        if (run != stays && HasEntry(run) && (second_ < 0 || Leads(run, second_))) second_ = run;
    }
}

void Cursor::Seek(const InternalKey &key) {
    for (int run = 0; run < runs_; run++) {
        auto &entries = *view_->runs[run];
        auto found = std::partition_point(entries.begin(), entries.end(), [&](const char *entry) {
            return order_.Compare(KeyOfEntry(entry), key) < 0;
        });
        places_[run] = found - entries.begin();
    }
    forward_ = true;
    Choose();
}

void Cursor::SeekForPrev(const InternalKey &key) {
    for (int run = 0; run < runs_; run++) {
        auto &entries = *view_->runs[run];
        auto found = std::partition_point(entries.begin(), entries.end(), [&](const char *entry) {
            return order_.Compare(KeyOfEntry(entry), key) <= 0;
        });
        places_[run] = found - entries.begin() - 1;
    }
    forward_ = false;
    Choose();
}

void Cursor::SeekToFirst() {
    std::fill(places_, places_ + runs_, 0);
    forward_ = true;
    Choose();
}

void Cursor::SeekToLast() {
    for (int run = 0; run < runs_; run++) {
        places_[run] = static_cast<int64_t>(view_->runs[run]->size()) - 1;
    }
    forward_ = false;
    Choose();
}

}  // namespace pk::memtable
