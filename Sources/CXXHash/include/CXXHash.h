// XXH64 and XXH3 of libxxhash-dev as seen by Swift.
#pragma once
#include <xxhash.h>
