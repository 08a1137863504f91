// The two orders of Pika's data families that are not bytewise (spec: storage-format 6).
#include <cmath>
#include <cstring>

#include <rocksdb/comparator.h>

#include "Internal.hpp"

namespace {

using rocksdb::Slice;

uint32_t LoadU32(const char *p) {
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

uint64_t LoadU64(const char *p) {
    uint64_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

// The user key inside [length u32][key][...]; shorter where the row is cut.
Slice UserKey(const Slice &row) {
    if (row.size() < 4) return Slice();
    size_t length = LoadU32(row.data());
    size_t there = row.size() - 4;
    return Slice(row.data() + 4, length < there ? length : there);
}

int Sign(int order) { return order < 0 ? -1 : order > 0 ? 1 : 0; }

// One that ends is smaller; both end: equal. Returns false where neither ends.
bool DecidedByEnd(size_t a_left, size_t b_left, int *order) {
    if (a_left > 0 && b_left > 0) return false;
    *order = a_left > 0 ? 1 : b_left > 0 ? -1 : 0;
    return true;
}

int CompareListKeys(const Slice &a, const Slice &b) {
    Slice a_key = UserKey(a), b_key = UserKey(b);
    int order = a_key.compare(b_key);
    if (order != 0) return Sign(order);
    size_t at = a_key.size() + 4;
    size_t a_left = a.size() > at ? a.size() - at : 0;
    size_t b_left = b.size() > at ? b.size() - at : 0;
    if (a_left < 4) a_left = 0;
    if (b_left < 4) b_left = 0;
    if (DecidedByEnd(a_left, b_left, &order)) return order;
    int32_t a_version = static_cast<int32_t>(LoadU32(a.data() + at));
    int32_t b_version = static_cast<int32_t>(LoadU32(b.data() + at));
    if (a_version != b_version) return a_version < b_version ? -1 : 1;
    a_left = a_left >= 12 ? a_left - 4 : 0;
    b_left = b_left >= 12 ? b_left - 4 : 0;
    if (DecidedByEnd(a_left, b_left, &order)) return order;
    uint64_t a_index = LoadU64(a.data() + at + 4);
    uint64_t b_index = LoadU64(b.data() + at + 4);
    return a_index == b_index ? 0 : a_index < b_index ? -1 : 1;
}

// Numbers by size, -0.0 equal to 0.0; NaN (which no writer may store) behind all of them, so that
// the order stays total whatever a directory holds.
int CompareScores(double a, double b) {
    if (a < b) return -1;
    if (a > b) return 1;
    if (a == b) return 0;
    bool a_nan = std::isnan(a), b_nan = std::isnan(b);
    return a_nan == b_nan ? 0 : a_nan ? 1 : -1;
}

double LoadScore(const char *p) {
    double value;
    memcpy(&value, p, sizeof value);
    return value;
}

int CompareScoreKeys(const Slice &a, const Slice &b) {
    // [length u32][key][version i32], compared as byte strings.
    size_t a_head = UserKey(a).size() + 8, b_head = UserKey(b).size() + 8;
    if (a_head > a.size()) a_head = a.size();
    if (b_head > b.size()) b_head = b.size();
    int order = Slice(a.data(), a_head).compare(Slice(b.data(), b_head));
    if (order != 0) return Sign(order);
    size_t a_left = a.size() - a_head >= 8 ? a.size() - a_head : 0;
    size_t b_left = b.size() - b_head >= 8 ? b.size() - b_head : 0;
    if (DecidedByEnd(a_left, b_left, &order)) return order;
    order = CompareScores(LoadScore(a.data() + a_head), LoadScore(b.data() + b_head));
    if (order != 0) return order;
    Slice a_member(a.data() + a_head + 8, a_left - 8);
    Slice b_member(b.data() + b_head + 8, b_left - 8);
    return Sign(a_member.compare(b_member));
}

// No separators: keys in index blocks stay real keys, which every reader accepts.
class ListsDataKeyComparator : public rocksdb::Comparator {
  public:
    const char *Name() const override { return "blackwidow.ListsDataKeyComparator"; }
    int Compare(const Slice &a, const Slice &b) const override { return CompareListKeys(a, b); }
    // Rows of one length each: the order looks at every byte of theirs.
    bool CanKeysWithDifferentByteContentsBeEqual() const override { return false; }
    void FindShortestSeparator(std::string *, const Slice &) const override {}
    void FindShortSuccessor(std::string *) const override {}
};

class ZSetsScoreKeyComparator : public rocksdb::Comparator {
  public:
    const char *Name() const override { return "blackwidow.ZSetsScoreKeyComparator"; }
    int Compare(const Slice &a, const Slice &b) const override { return CompareScoreKeys(a, b); }
    // -0.0 and 0.0 are one key with two byte forms: equality has to follow Compare.
    bool Equal(const Slice &a, const Slice &b) const override {
        return CompareScoreKeys(a, b) == 0;
    }
    bool CanKeysWithDifferentByteContentsBeEqual() const override { return true; }
    void FindShortestSeparator(std::string *, const Slice &) const override {}
    void FindShortSuccessor(std::string *) const override {}
};

}  // namespace

const rocksdb::Comparator *pk::ComparatorOf(int32_t kind, size_t family) {
    static const ListsDataKeyComparator lists;
    static const ZSetsScoreKeyComparator scores;
    if (kind == kLists && family == kData) return &lists;
    if (kind == kZSets && family == kScore) return &scores;
    return rocksdb::BytewiseComparator();
}

int32_t pk_compare(int32_t kind, uint8_t family, const void *a, size_t a_length, const void *b,
                   size_t b_length) {
    Slice a_slice(a ? static_cast<const char *>(a) : "", a_length);
    Slice b_slice(b ? static_cast<const char *>(b) : "", b_length);
    if (kind == pk::kLists && family == pk::kData) return CompareListKeys(a_slice, b_slice);
    if (kind == pk::kZSets && family == pk::kScore) return CompareScoreKeys(a_slice, b_slice);
    return a_slice.compare(b_slice);
}
