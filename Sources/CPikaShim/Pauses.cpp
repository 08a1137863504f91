#include "Internal.hpp"

#include <ctime>
#include <utility>

namespace pk {

namespace {

// Work between two pauses: shorter than what a client notices.
constexpr int64_t kWorkNanoseconds = 150'000;
constexpr long kPauseNanoseconds = 150'000;
// Flushes during a compaction from which on it makes no more pauses.
constexpr uint64_t kFlushesPerCompaction = 4;

// What this thread works for; null: it makes no pauses.
thread_local std::shared_ptr<Backlog> current_backlog;
thread_local BackgroundWork current_work;
// Full memtables or flushes when the work began.
thread_local uint64_t count_at_begin;
thread_local int64_t working_since;

uint64_t Count(const Backlog &backlog, BackgroundWork work) {
    return (work == BackgroundWork::kFlush ? backlog.full_memtables : backlog.flushes)
        .load(std::memory_order_relaxed);
}

bool WritersGetAhead(const Backlog &backlog) {
    if (backlog.stall.load(std::memory_order_relaxed) != 0 ||
        backlog.is_closing.load(std::memory_order_relaxed)) {
        return true;
    }
    uint64_t limit = current_work == BackgroundWork::kFlush ? 1 : kFlushesPerCompaction;
    return Count(backlog, current_work) - count_at_begin >= limit;
}

}  // namespace

thread_local uint32_t pauses::steps_left = 0;

void BeginPauses(std::shared_ptr<Backlog> backlog, BackgroundWork work) {
    count_at_begin = Count(*backlog, work);
    current_backlog = std::move(backlog);
    current_work = work;
    working_since = Nanoseconds();
    pauses::steps_left = kStepsPerLook;
}

void EndPauses() {
    current_backlog.reset();
    pauses::steps_left = 0;
}

bool HasPauses() { return pauses::steps_left != 0; }

void pauses::Look() {
    if (WritersGetAhead(*current_backlog)) return EndPauses();
    steps_left = kStepsPerLook;
    if (Nanoseconds() - working_since < kWorkNanoseconds) return;
    current_backlog->pauses.fetch_add(1, std::memory_order_relaxed);
    // A signal makes it shorter, which does no harm.
    timespec pause{0, kPauseNanoseconds};
    nanosleep(&pause, nullptr);
    working_since = Nanoseconds();
}

}  // namespace pk
