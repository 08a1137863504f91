// What PikaStorage sees of RocksDB 7.8: a plain C surface over the C++ library.
//
// The shim owns Open and Options, because c.h lacks the event listener, own loggers, the write
// buffer manager, flushes of several families and more. Every object has one owner and a
// deterministic end: a leaked iterator aborts the process when its store closes.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PK_NULLABLE _Nullable
#define PK_NONNULL _Nonnull

typedef struct pk_env pk_env;
typedef struct pk_store pk_store;
typedef struct pk_pin pk_pin;
typedef struct pk_batch pk_batch;
typedef struct pk_iterator pk_iterator;
typedef struct pk_snapshot pk_snapshot;

// Result codes: 0, RocksDB's Status::Code, or one of these.
enum {
    PK_OK = 0,
    PK_NOT_FOUND = 1,
    PK_INCOMPLETE = 7,
    PK_LOCKED = 200,
    PK_CLOSED = 201,
    PK_UNKNOWN = 255,
};

// Filled in by calls that fail; `message` is to be given to pk_error_clear.
typedef struct pk_error {
    int32_t code;
    int32_t is_no_space;
    char *PK_NULLABLE message;
} pk_error;

void pk_error_clear(pk_error *PK_NONNULL error);

// ---- Shared parts

typedef void (*pk_log_callback)(void *PK_NULLABLE context, int32_t level,
                                const char *PK_NONNULL text);

// Memtables take twice `write_buffer_bytes` at most, about.
pk_env *PK_NONNULL pk_env_create(size_t block_cache_bytes, size_t write_buffer_bytes,
                                 int64_t background_bytes_per_second, int32_t background_threads,
                                 int32_t log_level, pk_log_callback PK_NULLABLE log,
                                 void *PK_NULLABLE log_context);
void pk_env_destroy(pk_env *PK_NONNULL env);
size_t pk_env_block_cache_usage(const pk_env *PK_NONNULL env);
size_t pk_env_block_cache_capacity(const pk_env *PK_NONNULL env);
size_t pk_env_write_buffer_usage(const pk_env *PK_NONNULL env);
// Of memtables that are still written to.
size_t pk_env_write_buffer_mutable(const pk_env *PK_NONNULL env);
void pk_env_set_block_cache_capacity(pk_env *PK_NONNULL env, size_t bytes);
void pk_env_set_background_rate(pk_env *PK_NONNULL env, int64_t bytes_per_second);

// ---- Stores

// Kinds, as StoreKind: 0 strings, 1 hashes, 2 lists, 3 sets, 4 zsets.
// Families, as Family: 0 default, 1 data_cf / member_cf, 2 score_cf.

typedef struct pk_hooks {
    void *PK_NULLABLE context;
    void (*PK_NULLABLE flush_begin)(void *PK_NULLABLE context);
    void (*PK_NULLABLE stall_changed)(void *PK_NULLABLE context, int32_t state);
    void (*PK_NULLABLE background_error)(void *PK_NULLABLE context, int32_t code,
                                         int32_t is_no_space, const char *PK_NONNULL text);
} pk_hooks;

// How rows lie in memory before they are flushed: RocksDB's own order, or ours.
enum {
    PK_MEMTABLE_SKIP_LIST = 0,
    PK_MEMTABLE_HASH = 1,
};

typedef struct pk_options {
    int32_t create_if_missing;
    int32_t write_ahead_log;
    int32_t filter_clock;  // 0 horizon, 1 wall
    int32_t memtable_kind;
    size_t memtable_bytes;
    int32_t memtable_count;
    int32_t level0_trigger;
    uint64_t target_file_bytes;
    uint64_t level_base_bytes;
    int32_t level_multiplier;
    int32_t compression;
    const uint8_t *PK_NULLABLE compression_per_level;
    size_t compression_level_count;
    size_t block_bytes;
    int32_t bloom_bits;
    int32_t optimize_filters_for_hits;
    int32_t maps_files;
    int32_t max_open_files;
    int32_t disable_auto_compactions;
    int32_t background_jobs;
    int32_t max_subcompactions;
} pk_options;

pk_store *PK_NULLABLE pk_store_open(const char *PK_NONNULL path, int32_t kind,
                                    const pk_options *PK_NONNULL options, pk_env *PK_NONNULL env,
                                    const pk_hooks *PK_NONNULL hooks, pk_error *PK_NONNULL error);
pk_store *PK_NULLABLE pk_store_open_read_only(const char *PK_NONNULL path, int32_t kind,
                                              pk_env *PK_NONNULL env, pk_error *PK_NONNULL error);
// Ends background work and closes the database; rows that were not flushed are lost. The handle
// stays: whatever is asked of it from then on fails with PK_CLOSED. No call may be going on.
int32_t pk_store_close(pk_store *PK_NONNULL store, pk_error *PK_NONNULL error);
// Gives back a handle; closes first where that was forgotten.
void pk_store_free(pk_store *PK_NONNULL store);

int32_t pk_store_flush(pk_store *PK_NONNULL store, int32_t allow_write_stall,
                       pk_error *PK_NONNULL error);
int32_t pk_store_compact(pk_store *PK_NONNULL store, pk_error *PK_NONNULL error);
int32_t pk_store_checkpoint(pk_store *PK_NONNULL store, const char *PK_NONNULL path,
                            pk_error *PK_NONNULL error);
int32_t pk_store_resume(pk_store *PK_NONNULL store, pk_error *PK_NONNULL error);
int32_t pk_store_verify_checksums(pk_store *PK_NONNULL store, pk_error *PK_NONNULL error);
int32_t pk_store_identity(pk_store *PK_NONNULL store, char *PK_NULLABLE *PK_NONNULL text,
                          pk_error *PK_NONNULL error);
uint64_t pk_store_sequence(const pk_store *PK_NONNULL store);
// 1 if the property exists; `text` is to be given to pk_free.
int32_t pk_store_property(pk_store *PK_NONNULL store, uint8_t family, const char *PK_NONNULL name,
                          char *PK_NULLABLE *PK_NONNULL text);
int32_t pk_store_int_property(pk_store *PK_NONNULL store, uint8_t family,
                              const char *PK_NONNULL name, uint64_t *PK_NONNULL value);
uint64_t pk_store_memtables_left(pk_store *PK_NONNULL store);
int32_t pk_store_stall_state(const pk_store *PK_NONNULL store);
// Pauses that flushes and compactions made so that others get their cores.
uint64_t pk_store_pauses(const pk_store *PK_NONNULL store);
// Names and values as pairs of C strings.
int32_t pk_store_set_options(pk_store *PK_NONNULL store, int32_t whole_store,
                             const char *PK_NONNULL const *PK_NONNULL names_and_values,
                             size_t pair_count, pk_error *PK_NONNULL error);
int32_t pk_store_destroy(const char *PK_NONNULL path, int32_t kind, pk_error *PK_NONNULL error);
void pk_free(char *PK_NULLABLE text);

// ---- Reads

// Null if the store is closed.
pk_snapshot *PK_NULLABLE pk_snapshot_create(pk_store *PK_NONNULL store);
void pk_snapshot_release(pk_store *PK_NONNULL store, pk_snapshot *PK_NONNULL snapshot);

// A pin holds one value that was read, without a copy where RocksDB allows it.
pk_pin *PK_NONNULL pk_pin_create(void);
void pk_pin_destroy(pk_pin *PK_NONNULL pin);
void pk_pin_release(pk_pin *PK_NONNULL pin);

// PK_OK, PK_NOT_FOUND, or a failure. The value is valid until the pin is released or used again.
int32_t pk_get(pk_store *PK_NONNULL store, uint8_t family, const void *PK_NULLABLE key,
               size_t key_length, const pk_snapshot *PK_NULLABLE snapshot, pk_pin *PK_NONNULL pin,
               const void *PK_NULLABLE *PK_NONNULL value, size_t *PK_NONNULL value_length,
               pk_error *PK_NONNULL error);
// As pk_get without a snapshot; also says how long it took.
int32_t pk_get_timed(pk_store *PK_NONNULL store, uint8_t family, const void *PK_NULLABLE key,
                     size_t key_length, pk_pin *PK_NONNULL pin,
                     const void *PK_NULLABLE *PK_NONNULL value, size_t *PK_NONNULL value_length,
                     int64_t *PK_NONNULL nanoseconds, pk_error *PK_NONNULL error);
// Looks at files only: what a crash would leave (with the write-ahead log off).
int32_t pk_get_persisted(pk_store *PK_NONNULL store, uint8_t family, const void *PK_NULLABLE key,
                         size_t key_length, pk_pin *PK_NONNULL pin,
                         const void *PK_NULLABLE *PK_NONNULL value,
                         size_t *PK_NONNULL value_length, pk_error *PK_NONNULL error);

typedef struct pk_entry {
    const void *PK_NULLABLE key;
    size_t key_length;
    const void *PK_NULLABLE value;
    size_t value_length;
} pk_entry;

// Bounds may be left out (length 0): lower is included, upper is not. Null if the store is closed.
pk_iterator *PK_NULLABLE pk_iterator_create(pk_store *PK_NONNULL store, uint8_t family,
                                           const void *PK_NULLABLE lower, size_t lower_length,
                                           const void *PK_NULLABLE upper, size_t upper_length,
                                           int32_t fill_cache,
                                           const pk_snapshot *PK_NULLABLE snapshot);
void pk_iterator_destroy(pk_iterator *PK_NONNULL iterator);
// Each answers 1 and the entry, or 0 at the end or on failure (pk_iterator_status tells).
int32_t pk_iterator_seek(pk_iterator *PK_NONNULL iterator, const void *PK_NULLABLE key,
                         size_t key_length, pk_entry *PK_NONNULL entry);
int32_t pk_iterator_seek_for_prev(pk_iterator *PK_NONNULL iterator, const void *PK_NULLABLE key,
                                  size_t key_length, pk_entry *PK_NONNULL entry);
int32_t pk_iterator_first(pk_iterator *PK_NONNULL iterator, pk_entry *PK_NONNULL entry);
int32_t pk_iterator_last(pk_iterator *PK_NONNULL iterator, pk_entry *PK_NONNULL entry);
int32_t pk_iterator_next(pk_iterator *PK_NONNULL iterator, pk_entry *PK_NONNULL entry);
int32_t pk_iterator_prev(pk_iterator *PK_NONNULL iterator, pk_entry *PK_NONNULL entry);
int32_t pk_iterator_status(pk_iterator *PK_NONNULL iterator, pk_error *PK_NONNULL error);

// ---- Writes

// Marks in pk_row.value_length.
#define PK_ROW_DELETE 0xFFFFFFFFu
#define PK_ROW_VOID 0xFFFFFFFEu

typedef struct pk_row {
    void *PK_NONNULL key;
    void *PK_NULLABLE value;
    uint32_t key_length;
    uint32_t value_length;    // or PK_ROW_DELETE, PK_ROW_VOID
    uint32_t value_capacity;  // bytes that may be written at `value`
    uint32_t family;
} pk_row;

pk_batch *PK_NONNULL pk_batch_create(void);
void pk_batch_destroy(pk_batch *PK_NONNULL batch);
// Writes rows in their order as one batch; the last row of a key counts. With `no_slowdown`,
// PK_INCOMPLETE instead of waiting for a stall to end.
int32_t pk_write(pk_store *PK_NONNULL store, pk_batch *PK_NONNULL batch,
                 const pk_row *PK_NULLABLE rows, size_t row_count, int32_t no_slowdown,
                 pk_error *PK_NONNULL error);

// The parts of pk_write: takes everything out of the batch; puts rows behind what is in it; writes
// what is in it, and leaves it there.
void pk_batch_clear(pk_batch *PK_NONNULL batch);
int32_t pk_batch_fill(pk_store *PK_NONNULL store, pk_batch *PK_NONNULL batch,
                      const pk_row *PK_NULLABLE rows, size_t row_count,
                      pk_error *PK_NONNULL error);
// Gets memory for the large ones of the rows, so that writing them takes less time.
void pk_batch_make_ready(const pk_store *PK_NONNULL store, const pk_row *PK_NULLABLE rows,
                         size_t row_count);
// Deletes the rows of the store from `start` up to, not including, `end`: to be put in front of all
// rows of the batch.
int32_t pk_batch_delete_range(pk_store *PK_NONNULL store, pk_batch *PK_NONNULL batch,
                              uint8_t family, const void *PK_NULLABLE start, size_t start_length,
                              const void *PK_NULLABLE end, size_t end_length,
                              pk_error *PK_NONNULL error);
int32_t pk_batch_write(pk_store *PK_NONNULL store, pk_batch *PK_NONNULL batch,
                       int32_t no_slowdown, pk_error *PK_NONNULL error);

// The first bytes of the names of rows that no compaction drops, and which stand for rows of a
// version that nobody sees (Swift's UnseenClaim).
#define PK_UNSEEN_NAME "\0pika-swift:unseen:"
#define PK_UNSEEN_NAME_LENGTH 19

// Between begin and end, and until the applied row in the files has reached the position given to
// the last end, no compaction drops the meta row of an empty collection: element rows of its version
// are being written, or are there while the row that shows them is in memory only. Begins add up.
void pk_store_unseen_begin(pk_store *PK_NONNULL store);
void pk_store_unseen_end(pk_store *PK_NONNULL store, uint32_t file_number, uint64_t offset);

// The order of two keys of a family.
int32_t pk_compare(int32_t kind, uint8_t family, const void *PK_NULLABLE a, size_t a_length,
                   const void *PK_NULLABLE b, size_t b_length);

// ---- Numbers

// strtod over the whole text; 1 if it is a number (NaN is not).
int32_t pk_parse_double(const void *PK_NULLABLE text, size_t length, double *PK_NONNULL value);
// printf of a double with `precision` significant digits; the length written.
size_t pk_print_double(double value, int32_t precision, char *PK_NONNULL text, size_t capacity);

// Prints with a fixed number of decimals ("%.*f"); returns the length, 0 when it does not fit.
size_t pk_print_fixed(double value, int32_t decimals, char *PK_NONNULL text, size_t capacity);
// Adds two texts as long doubles; the length written, 0 if one is no number, -1 if the sum is not
// finite.
int64_t pk_add_long_double(const void *PK_NULLABLE a, size_t a_length, const void *PK_NULLABLE b,
                           size_t b_length, char *PK_NONNULL text, size_t capacity);

#ifdef __cplusplus
}
#endif
