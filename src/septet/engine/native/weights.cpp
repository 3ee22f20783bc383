// Gradients of a linear layer: out (O, I) = g (N, O)^T x (N, I), and of its bias (O), unless that is null.

#include <sys/syscall.h>
#include <unistd.h>

#include "tiles.h"

namespace {

constexpr int64_t TOKENS = 256;  // of one block, so that what is packed of it stays in the second cache

// 32 tokens x 16 inputs a tile, as pairs of tokens
void pack_columns(const bf16* x, int64_t stride, int64_t tokens, int64_t from, int64_t to, bf16* into) {
    const __m256i zero = _mm256_setzero_si256();
    const int64_t tile = up(tokens, 32) * 16;
    for (int64_t n = 0; n < up(tokens, 32); n += 2)
        for (int64_t i = from; i < to; i += 16)
            _mm512_storeu_si512(into + (i - from) / 16 * tile + n * 16,
                                paired(n < tokens ? _mm256_loadu_si256((const __m256i*)(x + n * stride + i)) : zero,
                                       n + 1 < tokens ? _mm256_loadu_si256((const __m256i*)(x + (n + 1) * stride + i)) : zero));
}

}  // namespace

extern "C" {

// ask Linux for tiles, once a process; not 0 where it gives none
int septet_begin() {
    return (int)syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */);
}

void septet_weight_gradient(const bf16* g, const bf16* x, bf16* out, bf16* bias, int64_t N, int64_t O, int64_t I) {
    // outputs or inputs are dealt out, whichever are more
#pragma omp parallel
    {
        const int64_t threads = omp_get_num_threads(), me = omp_get_thread_num(), blocks = std::max(O, I) / 32;
        const int64_t from = blocks * me / threads * 32, to = blocks * (me + 1) / threads * 32;
        const int64_t o0 = O >= I ? from : 0, o1 = O >= I ? to : O, i0 = O >= I ? 0 : from, i1 = O >= I ? I : to;
        if (o1 > o0 && i1 > i0) {
            const Tiles tiles;
            static thread_local std::vector<bf16> rows, columns;
            static thread_local std::vector<float> sums, biases;
            rows.resize(TOKENS * (o1 - o0));
            columns.resize(TOKENS * (i1 - i0));
            sums.resize(N > TOKENS ? (o1 - o0) * (i1 - i0) : 0);
            alignas(64) float block[1024];
            biases.assign(o1 - o0, 0.f);
            const bool adds = bias && (O >= I || me == 0);
            for (int64_t n = 0; n < N; n += TOKENS) {
                const int64_t tokens = std::min(TOKENS, N - n), tile = up(tokens, 32) * 16;
                const bool last = n + tokens == N;
                pack_rows(g + n * O, O, tokens, o0, o1, rows.data(), adds ? biases.data() : nullptr);
                pack_columns(x + n * I, I, tokens, i0, i1, columns.data());
                WRITTEN;
                for (int64_t o = 0; o < o1 - o0; o += 32)
                    for (int64_t i = 0; i < i1 - i0; i += 32) {
                        float* c = sums.data() + (o / 32 * ((i1 - i0) / 32) + i / 32) * 1024;
                        const bf16 *a = rows.data() + o / 16 * tile, *b = columns.data() + i / 16 * tile;
                        if (n) {
                            _tile_loadd(0, c, 64);
                            _tile_loadd(1, c + 256, 64);
                            _tile_loadd(2, c + 512, 64);
                            _tile_loadd(3, c + 768, 64);
                        } else {
                            _tile_zero(0);
                            _tile_zero(1);
                            _tile_zero(2);
                            _tile_zero(3);
                        }
                        for (int64_t k = 0; k < tile; k += 512) {
                            _tile_loadd(4, a + k, 64);
                            _tile_loadd(6, b + k, 64);
                            _tile_dpbf16ps(0, 4, 6);
                            _tile_loadd(7, b + tile + k, 64);
                            _tile_dpbf16ps(1, 4, 7);
                            _tile_loadd(5, a + tile + k, 64);
                            _tile_dpbf16ps(2, 5, 6);
                            _tile_dpbf16ps(3, 5, 7);
                        }
                        float* into = last ? block : c;
                        _tile_stored(0, into, 64);
                        _tile_stored(1, into + 256, 64);
                        _tile_stored(2, into + 512, 64);
                        _tile_stored(3, into + 768, 64);
                        WRITTEN;
                        for (int64_t r = 0; last && r < 32; ++r)
                            for (int64_t q = 0; q < 2; ++q)
                                write16(out + (o0 + o + r) * I + i0 + i + q * 16, _mm512_loadu_ps(block + (r / 16 * 2 + q) * 256 + r % 16 * 16));
                    }
            }
            for (int64_t o = 0; adds && o < o1 - o0; o += 16) write16(bias + o0 + o, _mm512_loadu_ps(biases.data() + o));
        }
    }
}

}  // extern "C"
