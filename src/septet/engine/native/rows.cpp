// Passes over activations: GELU with the error function (Abramowitz and Stegun 7.1.26, to 1.5e-7), and dropout with its residual and norm.

#include "numbers.h"

namespace {

// the normal distribution below x, and its density
inline __m512 normal(__m512 x, __m512& density) {
    const __m512 e = exponential(_mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(-.5f)));
    density = _mm512_mul_ps(e, _mm512_set1_ps(0.39894228f));
    const __m512 one = _mm512_set1_ps(1.f), over = _mm512_fmadd_ps(_mm512_abs_ps(x), _mm512_set1_ps(0.3275911f * 0.70710678f), one);
    __m512 t = _mm512_rcp14_ps(over);
    t = _mm512_fmadd_ps(t, _mm512_fnmadd_ps(over, t, one), t);  // a step of Newton: 2^-14 becomes 2^-28
    __m512 y = _mm512_set1_ps(1.061405429f);
    for (float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) y = _mm512_fmadd_ps(y, t, _mm512_set1_ps(c));
    const __m512 tail = _mm512_mul_ps(_mm512_mul_ps(_mm512_mul_ps(y, t), e), _mm512_set1_ps(.5f));
    return _mm512_mask_sub_ps(tail, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GE_OQ), one, tail);
}

}  // namespace

extern "C" {

void septet_gelu(const bf16* x, bf16* out, int64_t count) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += 16) {
        const __mmask16 there = first(count - i);
        __m512 density, a = read16(x + i, there);
        write16(out + i, _mm512_mul_ps(a, normal(a, density)), there);
    }
}

void septet_gelu_back(const bf16* grad, const bf16* x, bf16* out, int64_t count) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += 16) {
        const __mmask16 there = first(count - i);
        __m512 density, a = read16(x + i, there);
        const __m512 below = normal(a, density);
        write16(out + i, _mm512_mul_ps(read16(grad + i, there), _mm512_fmadd_ps(a, density, below)), there);
    }
}

// out = norm(drop(x) + beside): x, beside, out (N, H); place p of row r keeps column c by word p * H + c

void septet_norm(const bf16* x, const bf16* beside, const int64_t* rows, const int64_t* places, const int32_t* keys, const int32_t* words, float rate,
                 const bf16* weight, const bf16* bias, float eps, int64_t N, int64_t H, bf16* out, float* means, float* scales) {
    const Drop drop{words, rate};
    const __m512 more = _mm512_set1_ps(1.f / (1.f - rate));
#pragma omp parallel
    {
        std::vector<float> z(H);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < N; ++n) {
            __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
            for (int64_t h = 0; h < H; h += 16) {
                const __mmask16 kept = rate > 0 ? drop.kept(_mm512_loadu_si512(words + places[n] * H + h), keys[rows[n]]) : 0xFFFF;
                const __m512 y = _mm512_add_ps(_mm512_maskz_mul_ps(kept, read16(x + n * H + h), more), read16(beside + n * H + h));
                sum = _mm512_add_ps(sum, y);
                _mm512_storeu_ps(z.data() + h, y);
            }
            const float mean = _mm512_reduce_add_ps(sum) / H;
            for (int64_t h = 0; h < H; h += 16) {
                const __m512 y = _mm512_sub_ps(_mm512_loadu_ps(z.data() + h), _mm512_set1_ps(mean));
                squares = _mm512_fmadd_ps(y, y, squares);
            }
            const float scale = 1.f / std::sqrt(_mm512_reduce_add_ps(squares) / H + eps);
            means[n] = mean, scales[n] = scale;
            for (int64_t h = 0; h < H; h += 16) {
                const __m512 y = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(z.data() + h), _mm512_set1_ps(mean)), _mm512_set1_ps(scale));
                write16(out + n * H + h, _mm512_fmadd_ps(y, read16(weight + h), read16(bias + h)));
            }
        }
    }
}

void septet_norm_back(const bf16* grad, const bf16* x, const bf16* beside, const int64_t* rows, const int64_t* places, const int32_t* keys,
                      const int32_t* words, float rate, const bf16* weight, const float* means, const float* scales, int64_t N, int64_t H, bf16* dx,
                      bf16* dbeside, bf16* dweight, bf16* dbias) {
    const Drop drop{words, rate};
    const __m512 more = _mm512_set1_ps(1.f / (1.f - rate));
    std::vector<float> sums;  // (threads, 2, H)
    int64_t threads = 1;
#pragma omp parallel
    {
#pragma omp single
        threads = omp_get_num_threads(), sums.assign(threads * 2 * H, 0.f);
        float *dw = sums.data() + omp_get_thread_num() * 2 * H, *db = dw + H;
        std::vector<float> normed(H), given(H);
#pragma omp for schedule(static)
        for (int64_t n = 0; n < N; ++n) {
            __m512 sum = _mm512_setzero_ps(), along = _mm512_setzero_ps();
            const __m512 mean = _mm512_set1_ps(means[n]), scale = _mm512_set1_ps(scales[n]);
            for (int64_t h = 0; h < H; h += 16) {
                const __mmask16 kept = rate > 0 ? drop.kept(_mm512_loadu_si512(words + places[n] * H + h), keys[rows[n]]) : 0xFFFF;
                const __m512 y = _mm512_add_ps(_mm512_maskz_mul_ps(kept, read16(x + n * H + h), more), read16(beside + n * H + h));
                const __m512 z = _mm512_mul_ps(_mm512_sub_ps(y, mean), scale), g = read16(grad + n * H + h);
                _mm512_storeu_ps(dw + h, _mm512_fmadd_ps(g, z, _mm512_loadu_ps(dw + h)));
                _mm512_storeu_ps(db + h, _mm512_add_ps(g, _mm512_loadu_ps(db + h)));
                const __m512 through = _mm512_mul_ps(g, read16(weight + h));
                sum = _mm512_add_ps(sum, through), along = _mm512_fmadd_ps(through, z, along);
                _mm512_storeu_ps(normed.data() + h, z), _mm512_storeu_ps(given.data() + h, through);
            }
            const __m512 a = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / H), b = _mm512_set1_ps(_mm512_reduce_add_ps(along) / H);
            for (int64_t h = 0; h < H; h += 16) {
                const __m512 z = _mm512_loadu_ps(normed.data() + h);
                const __m512 d = _mm512_mul_ps(scale, _mm512_sub_ps(_mm512_loadu_ps(given.data() + h), _mm512_fmadd_ps(z, b, a)));
                const __mmask16 kept = rate > 0 ? drop.kept(_mm512_loadu_si512(words + places[n] * H + h), keys[rows[n]]) : 0xFFFF;
                write16(dbeside + n * H + h, d);
                write16(dx + n * H + h, _mm512_maskz_mul_ps(kept, d, more));
            }
        }
    }
    for (int64_t h = 0; h < H; h += 16) {
        __m512 w = _mm512_setzero_ps(), b = _mm512_setzero_ps();
        for (int64_t t = 0; t < threads; ++t) {
            w = _mm512_add_ps(w, _mm512_loadu_ps(sums.data() + t * 2 * H + h));
            b = _mm512_add_ps(b, _mm512_loadu_ps(sums.data() + (t * 2 + 1) * H + h));
        }
        write16(dweight + h, w), write16(dbias + h, b);
    }
}

}  // extern "C"
