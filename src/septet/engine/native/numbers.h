// Numbers of bf16 in vectors of 16, and which of them dropout keeps.
//
// All sums are in fp32, in an order that depends on shapes and the number of threads alone, so that a resumed run gets the same bytes.
#pragma once

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

using bf16 = uint16_t;

namespace {

inline __m512 widened(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
inline __m512 read16(const bf16* p) { return widened(_mm256_loadu_si256((const __m256i*)p)); }
inline __m512 read16(const bf16* p, __mmask16 there) { return widened(_mm256_maskz_loadu_epi16(there, p)); }
inline __m256i narrowed(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }
inline void write16(bf16* p, __m512 x) { _mm256_storeu_si256((__m256i*)p, narrowed(x)); }
inline void write16(bf16* p, __m512 x, __mmask16 there) { _mm256_mask_storeu_epi16(p, there, narrowed(x)); }
inline __mmask16 first(int64_t count) { return count >= 16 ? 0xFFFF : (__mmask16)((1u << std::max<int64_t>(count, 0)) - 1); }
inline int64_t up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// e^x to 2e-7 of itself for x up to 0, 0 far below; what is no number stays none
inline __m512 exponential(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-110.f), x);  // of a number and none, it takes the second
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 y = _mm512_set1_ps(1.f / 720);
    for (float c : {1.f / 120, 1.f / 24, 1.f / 6, .5f, 1.f, 1.f}) y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(c));
    return _mm512_scalef_ps(y, n);
}

// 16 x 16 numbers of 32 bits, rows to columns
inline void transpose(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; ++j) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + 2 + j]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + 2 + j]);
        }
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xDD);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xDD);
    }
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD);
    }
}

// two rows of 16 numbers as 16 pairs
inline __m512i paired(__m256i a, __m256i b) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

// what is dropped, as `engine/dropout.py` says
struct Drop {
    const int32_t* words;
    double rate;
    float more() const { return (float)(1 / (1 - rate)); }  // what is kept becomes
    __mmask16 kept(__m512i words16, int32_t key) const {
        const __m512i mixed = _mm512_mullo_epi32(_mm512_xor_si512(words16, _mm512_set1_epi32(key)), _mm512_set1_epi32(-2073254261));
        const int32_t limit = (1 << 30) - (int32_t)(rate * 2147483648.0);
        return _mm512_cmplt_epi32_mask(_mm512_srai_epi32(mixed, 1), _mm512_set1_epi32(limit));
    }
    // of the probability of key j for query i: 16 keys on from j
    __mmask16 kept_pair(int64_t head, int64_t i, int64_t j, int32_t key) const {
        const __m512i of_query = _mm512_set1_epi32((int32_t)((uint32_t)words[(head + 1) * 4096 + i] * 31u));
        return kept(_mm512_add_epi32(of_query, _mm512_loadu_si512(words + j)), key);
    }
};

}  // namespace
