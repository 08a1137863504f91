// Short pauses of the threads that flush and compact.
//
// Their work is a few percent of a core, but in pieces of tens of milliseconds. The kernel leaves a
// thread with so much to do on its core for a whole tick (4 ms at 250 Hz), and the event loop or the
// client that becomes ready meanwhile waits for it: that was the tail of our latency. So such a thread
// sleeps for a moment after each moment of work, unless the writers would have to wait for it then.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace pk {

// How far the background work of a store is behind its writers; shared with the threads that do it.
struct Backlog {
    // Memtables that became full, and flushes that began, since the store was opened.
    std::atomic<uint64_t> full_memtables{0};
    std::atomic<uint64_t> flushes{0};
    // Whether RocksDB lets the writers go (0), slows (1) or stops them (2).
    std::atomic<int32_t> stall{0};
    std::atomic<bool> is_closing{false};
    // Pauses that were made.
    std::atomic<uint64_t> pauses{0};
};

enum class BackgroundWork { kFlush, kCompaction };

// From here on this thread works for the store, with pauses; again without them once the writers get
// ahead: another memtable is full before a flush is over, or several are flushed during a compaction.
void BeginPauses(std::shared_ptr<Backlog> backlog, BackgroundWork work);
// From here on this thread makes no pauses.
void EndPauses();
// Whether this thread makes any.
bool HasPauses();

// Steps until the clock is read again.
constexpr uint32_t kStepsPerLook = 32;

namespace pauses {
// Steps left until this thread looks at the clock; 0: it makes no pauses.
extern thread_local uint32_t steps_left;
void Look();
}  // namespace pauses

// A step of some work, of less than a few microseconds, with no lock held: the pause may be here.
inline void Step() {
    if (pauses::steps_left == 0) return;
    if (--pauses::steps_left == 0) pauses::Look();
}

}  // namespace pk
