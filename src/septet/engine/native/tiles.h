// Matrix products of bf16 in AMX tiles: 16 rows of 64 bytes, the second operand in pairs of what is summed over.
#pragma once

#include "numbers.h"

// GCC does not know that tiles read and write memory
#define WRITTEN __asm__ volatile("" ::: "memory")

namespace {

// 16 outputs x 32 tokens a tile: pairs of tokens, rows to columns; memory is read in its order.
void pack_rows(const bf16* g, int64_t stride, int64_t tokens, int64_t from, int64_t to, bf16* into) {
    const __m256i zero = _mm256_setzero_si256();
    const int64_t tile = up(tokens, 32) * 16;
    for (int64_t n = 0; n < tokens; n += 32)
        for (int64_t o = from; o < to; o += 16) {
            __m512i r[16];
            for (int p = 0; p < 16; ++p) {
                const bf16* at = g + (n + 2 * p) * stride + o;
                r[p] = paired(n + 2 * p < tokens ? _mm256_loadu_si256((const __m256i*)at) : zero,
                              n + 2 * p + 1 < tokens ? _mm256_loadu_si256((const __m256i*)(at + stride)) : zero);
            }
            transpose(r);
            bf16* to_tile = into + (o - from) / 16 * tile + n * 16;
            for (int p = 0; p < 16; ++p) _mm512_storeu_si512(to_tile + p * 32, r[p]);
        }
}

// Tiles of 16 rows of 64 bytes while it lives; what oneDNN had set up is there again afterwards.
class Tiles {
    struct alignas(64) Shape {
        uint8_t palette = 1, start = 0, reserved[14] = {};
        uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
    alignas(64) uint8_t before[64];

   public:
    Tiles() {
        const Shape shape;
        _tile_storeconfig(before);
        _tile_loadconfig(&shape);
    }
    ~Tiles() {
        if (before[0]) _tile_loadconfig(before);
        else _tile_release();
    }
};

}  // namespace
