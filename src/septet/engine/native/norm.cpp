// Dropout with its residual and norm: out = norm(drop(x) + beside); x, beside, out (N, H); place p of row r keeps column c by word p * H + c.

#include "numbers.h"

extern "C" {

void septet_norm(const bf16* x, const bf16* beside, const int64_t* rows, const int64_t* places, const int32_t* keys, const int32_t* words, double rate,
                 const bf16* weight, const bf16* bias, float eps, int64_t N, int64_t H, bf16* out, float* means, float* scales) {
    const Drop drop{words, rate};
    const __m512 more = _mm512_set1_ps(drop.more());
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
            const float all = _mm512_reduce_add_ps(squares);
            // too large for fp32: no number, as PyTorch says, and not a norm of 0 that nobody would notice
            const float scale = std::isfinite(all) ? 1.f / std::sqrt(all / H + eps) : NAN;
            means[n] = mean, scales[n] = scale;
            for (int64_t h = 0; h < H; h += 16) {
                const __m512 y = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(z.data() + h), _mm512_set1_ps(mean)), _mm512_set1_ps(scale));
                write16(out + n * H + h, _mm512_fmadd_ps(y, read16(weight + h), read16(bias + h)));
            }
        }
    }
}

void septet_norm_back(const bf16* grad, const bf16* x, const bf16* beside, const int64_t* rows, const int64_t* places, const int32_t* keys,
                      const int32_t* words, double rate, const bf16* weight, const float* means, const float* scales, int64_t N, int64_t H, bf16* dx,
                      bf16* dbeside, bf16* dweight, bf16* dbias) {
    const Drop drop{words, rate};
    const __m512 more = _mm512_set1_ps(drop.more());
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
