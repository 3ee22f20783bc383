// AdamW in one pass over memory.

#include "numbers.h"

namespace {

constexpr int64_t BLOCK = 1 << 14;

// gradients are of bf16 as long as one micro-batch made them
inline __m512 read(const void* x, int64_t i, __mmask16 there, int wide) {
    return wide ? _mm512_maskz_loadu_ps(there, (const float*)x + i) : read16((const bf16*)x + i, there);
}

}  // namespace

extern "C" {

double septet_square_sum(const void* grad, int64_t count, int wide) {
    const int64_t blocks = (count + BLOCK - 1) / BLOCK;
    std::vector<double> sums(blocks);
#pragma omp parallel for schedule(static)
    for (int64_t b = 0; b < blocks; ++b) {
        __m512 sum = _mm512_setzero_ps();
        const int64_t end = std::min(count, (b + 1) * BLOCK);
        for (int64_t i = b * BLOCK; i < end; i += 16) {
            const __m512 x = read(grad, i, first(end - i), wide);
            sum = _mm512_fmadd_ps(x, x, sum);
        }
        sums[b] = _mm512_reduce_add_ps(sum);
    }
    double all = 0;
    for (double sum : sums) all += sum;
    return all;
}

// numbers: factor of the gradient, 1 - beta1, beta2, 1 - beta2, 1 / sqrt(1 - beta2^t), eps, 1 - lr * decay, lr / (1 - beta1^t)
void septet_adamw(float* master, float* mean, float* square, const void* grad, bf16* rounded, const float* numbers, int64_t count, int wide) {
    __m512 n[8];
    for (int i = 0; i < 8; ++i) n[i] = _mm512_set1_ps(numbers[i]);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < count; i += 16) {
        const __mmask16 there = first(count - i);
        const __m512 g = _mm512_mul_ps(read(grad, i, there, wide), n[0]);
        __m512 m = _mm512_maskz_loadu_ps(there, mean + i), v = _mm512_maskz_loadu_ps(there, square + i), x = _mm512_maskz_loadu_ps(there, master + i);
        m = _mm512_fmadd_ps(_mm512_sub_ps(g, m), n[1], m);
        v = _mm512_fmadd_ps(v, n[2], _mm512_mul_ps(_mm512_mul_ps(g, g), n[3]));
        const __m512 under = _mm512_fmadd_ps(_mm512_sqrt_ps(v), n[4], n[5]);
        x = _mm512_fmsub_ps(x, n[6], _mm512_div_ps(_mm512_mul_ps(m, n[7]), under));
        _mm512_mask_storeu_ps(mean + i, there, m), _mm512_mask_storeu_ps(square + i, there, v), _mm512_mask_storeu_ps(master + i, there, x);
        write16(rounded + i, x, there);
    }
}

}  // extern "C"
