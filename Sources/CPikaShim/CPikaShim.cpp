#include "CPikaShim.h"
