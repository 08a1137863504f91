// What Swift sees of RocksDB: rocksdb/c.h plus the pieces that c.h lacks.
#pragma once
#include <rocksdb/c.h>
