// Conversions that C's library defines and Pika's data depend on.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "CPikaShim.h"

namespace {

// Numbers longer than this are refused: no text that a server writes comes near.
constexpr size_t kLongestNumber = 6000;

bool Usable(const void *text, size_t length) {
    if (text == nullptr || length == 0 || length > kLongestNumber) return false;
    unsigned char first = *static_cast<const unsigned char *>(text);
    // strtod skips white space; a number of ours has none.
    return first > ' ' && memchr(text, 0, length) == nullptr;
}

bool ParseLongDouble(const void *text, size_t length, long double *value) {
    if (!Usable(text, length)) return false;
    std::string copy(static_cast<const char *>(text), length);
    char *end = nullptr;
    *value = strtold(copy.c_str(), &end);
    return end == copy.c_str() + length && !std::isnan(*value);
}

// Whole numbers of so many digits are doubles without a loss.
constexpr size_t kExactDigits = 15;

bool ParseDigits(const void *text, size_t length, double *value) {
    if (length == 0 || length > kExactDigits) return false;
    auto *digits = static_cast<const unsigned char *>(text);
    int64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned digit = digits[i] - '0';
        if (digit > 9) return false;
        number = number * 10 + digit;
    }
    *value = static_cast<double>(number);
    return true;
}

}  // namespace

int32_t pk_parse_double(const void *text, size_t length, double *value) {
    if (ParseDigits(text, length, value)) return 1;
    if (!Usable(text, length)) return 0;
    char small[64];
    std::string large;
    const char *start = small;
    if (length < sizeof small) {
        memcpy(small, text, length);
        small[length] = 0;
    } else {
        large.assign(static_cast<const char *>(text), length);
        start = large.c_str();
    }
    char *end = nullptr;
    *value = strtod(start, &end);
    return end == start + length && !std::isnan(*value);
}

size_t pk_print_double(double value, int32_t precision, char *text, size_t capacity) {
    int length = snprintf(text, capacity, "%.*g", precision, value);
    return length < 0 || static_cast<size_t>(length) >= capacity ? 0
                                                                 : static_cast<size_t>(length);
}

size_t pk_print_fixed(double value, int32_t decimals, char *text, size_t capacity) {
    int length = snprintf(text, capacity, "%.*f", decimals, value);
    return length < 0 || static_cast<size_t>(length) >= capacity ? 0
                                                                 : static_cast<size_t>(length);
}

int64_t pk_add_long_double(const void *a, size_t a_length, const void *b, size_t b_length,
                           char *text, size_t capacity) {
    long double left = 0, right = 0;
    if (!ParseLongDouble(a, a_length, &left) || !ParseLongDouble(b, b_length, &right)) return 0;
    long double sum = left + right;
    if (std::isnan(sum) || std::isinf(sum)) return -1;
    int length = snprintf(text, capacity, "%.17Lf", sum);
    if (length <= 0 || static_cast<size_t>(length) >= capacity) return -1;
    if (strchr(text, '.') != nullptr) {
        while (text[length - 1] == '0') length--;
        if (text[length - 1] == '.') length--;
    }
    if (length == 2 && text[0] == '-' && text[1] == '0') {
        text[0] = '0';
        length = 1;
    }
    return length;
}
