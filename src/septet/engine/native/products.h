// Matrix products of bf16, the second operand in pairs of what is summed over: in AMX tiles of 16 rows of 64 bytes, or in vectors of AVX-512.
#pragma once

#include "numbers.h"

namespace {

// A matrix of bf16 in tiles: numbers from row to row within a tile, from tile to tile down, and along.
struct Rows {
    const bf16* at;
    int64_t row, down, along;
    static Rows plain(const std::vector<bf16>& x, int64_t stride) { return {x.data(), stride, 16 * stride, 32}; }
    static Rows packed(const std::vector<bf16>& x, int64_t width) { return {x.data(), 32, 16 * width, 512}; }
    // from a row on that is a multiple of 16, and from a number of each row on that is one of 32
    Rows from(int64_t m, int64_t k = 0) const { return {at + m / 16 * down + k / 32 * along, row, down, along}; }
};

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

#ifdef __AMX_BF16__

// GCC does not know that tiles read and write memory
#define WRITTEN __asm__ volatile("" ::: "memory")

// c (M, N) = a (M, K) b, all multiples of a tile; b (K / 2, N) in pairs along K
void multiply(Rows a, const bf16* b, int64_t stride_b, float* c, int64_t stride_c, int64_t M, int64_t N, int64_t K) {
    WRITTEN;
    for (int64_t n = 0; n < N; n += 16)
        for (int64_t m = 0; m < M; m += 16) {
            _tile_zero(0);
            for (int64_t k = 0; k < K; k += 32) {
                _tile_loadd(4, a.at + m / 16 * a.down + k / 32 * a.along, a.row * 2);
                _tile_loadd(6, b + (k / 2 * stride_b + n) * 2, stride_b * 4);
                _tile_dpbf16ps(0, 4, 6);
            }
            _tile_stored(0, c + m * stride_c + n, stride_c * 4);
        }
    WRITTEN;
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

#else

// 8 rows by 16 * C columns of c, whose sums stay in registers
template <int C>
void multiply_part(Rows a, int64_t m, const bf16* b, int64_t stride_b, float* c, int64_t stride_c, int64_t K) {
    __m512 sums[8][C];
    for (auto& row : sums)
        for (auto& sum : row) sum = _mm512_setzero_ps();
    for (int64_t k = 0; k < K; k += 32) {
        const bf16* rows = a.at + m / 16 * a.down + m % 16 * a.row + k / 32 * a.along;
        for (int64_t p = 0; p < 32; p += 2, b += 2 * stride_b) {
            __m512bh columns[C];
            for (int n = 0; n < C; ++n) columns[n] = (__m512bh)_mm512_loadu_si512(b + n * 32);
            for (int i = 0; i < 8; ++i) {
                int32_t pair;
                std::memcpy(&pair, rows + i * a.row + p, 4);
                for (int n = 0; n < C; ++n) sums[i][n] = _mm512_dpbf16_ps(sums[i][n], (__m512bh)_mm512_set1_epi32(pair), columns[n]);
            }
        }
    }
    for (int i = 0; i < 8; ++i)
        for (int n = 0; n < C; ++n) _mm512_storeu_ps(c + (m + i) * stride_c + n * 16, sums[i][n]);
}

// c (M, N) = a (M, K) b, all multiples of 16, K of 32; b (K / 2, N) in pairs along K
void multiply(Rows a, const bf16* b, int64_t stride_b, float* c, int64_t stride_c, int64_t M, int64_t N, int64_t K) {
    for (int64_t n = 0; n < N;) {
        const bool two = N - n >= 32;
        for (int64_t m = 0; m < M; m += 8)
            (two ? multiply_part<2> : multiply_part<1>)(a, m, b + n * 2, stride_b, c + n, stride_c, K);
        n += two ? 32 : 16;
    }
}

struct Tiles {};

#endif

}  // namespace
