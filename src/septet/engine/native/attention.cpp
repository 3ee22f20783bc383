// Attention within rows laid end to end: q, k, v, out (N, heads, D), row b from starts[b] to starts[b + 1].

#include "products.h"

#ifdef __AMX_BF16__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// queries or keys that are multiplied together: a causal row's queries see no more keys than come before their block's end
constexpr int64_t BLOCK = 64;

struct Attention {
    const bf16 *q, *k, *v;
    const int64_t* starts;
    const int32_t* keys;  // of the dropout, one a row
    Drop drop;
    float scale;
    int64_t heads, depth;
    bool causal, first_only;
};

// what of one head of one row is at hand, filled up with zeros to whole tiles
struct Head {
    int64_t T, queries, W, Q, D;           // tokens and queries, and both in tiles
    std::vector<bf16> q, k, v, grad, p, ds, back;  // q, grad, p, ds by rows; k, v in pairs
    std::vector<float> scores, given, sums;
};

// (depth / 2, width) pairs along the depth of `tokens` vectors
void pairs_of_depth(const bf16* x, int64_t stride, int64_t tokens, int64_t depth, int64_t width, std::vector<bf16>& into) {
    into.resize(depth * width);
    for (int64_t j = 0; j < width; j += 16)
        for (int64_t d = 0; d < depth; d += 32) {
            __m512i r[16];
            for (int i = 0; i < 16; ++i) r[i] = j + i < tokens ? _mm512_loadu_si512(x + (j + i) * stride + d) : _mm512_setzero_si512();
            transpose(r);
            for (int i = 0; i < 16; ++i) _mm512_storeu_si512(into.data() + ((d / 2 + i) * width + j) * 2, r[i]);
        }
}

// (width / 2, depth) pairs along the tokens
void pairs_of_tokens(const bf16* x, int64_t stride, int64_t tokens, int64_t depth, int64_t width, std::vector<bf16>& into) {
    into.resize(depth * width);
    const __m256i zero = _mm256_setzero_si256();
    for (int64_t j = 0; j < width; j += 2)
        for (int64_t d = 0; d < depth; d += 16) {
            const __m256i a = j < tokens ? _mm256_loadu_si256((const __m256i*)(x + j * stride + d)) : zero;
            const __m256i b = j + 1 < tokens ? _mm256_loadu_si256((const __m256i*)(x + (j + 1) * stride + d)) : zero;
            _mm512_storeu_si512(into.data() + (j / 2 * depth + d) * 2, paired(a, b));
        }
}

// (width, depth) as it is
void rows_of(const bf16* x, int64_t stride, int64_t tokens, int64_t depth, int64_t width, std::vector<bf16>& into) {
    into.resize(depth * width);
    for (int64_t j = 0; j < tokens; ++j) std::memcpy(into.data() + j * depth, x + j * stride, depth * 2);
    std::memset(into.data() + tokens * depth, 0, (width - tokens) * depth * 2);
}

// scores (queries, W) of what each block of queries may see
void score(const Attention& a, const std::vector<bf16>& of, const std::vector<bf16>& with, std::vector<float>& into, const Head& at) {
    const int64_t queries = up(at.queries, 16), tokens = up(at.T, 16), step = a.causal ? BLOCK : queries;
    for (int64_t i = 0; i < queries; i += step) {
        const int64_t end = std::min(queries, i + step), seen = a.causal ? std::min(end, tokens) : tokens;
        multiply(Rows::plain(of, at.D).from(i), with.data(), at.W, into.data() + i * at.W, at.W, end - i, seen, at.D);
    }
}

// sums (queries, D) over the keys that each block of queries may see; with (W / 2, D) in pairs
void sum_keys(const Attention& a, const std::vector<bf16>& of, const std::vector<bf16>& with, Head& at) {
    const int64_t queries = up(at.queries, 16), step = a.causal ? BLOCK : queries;
    for (int64_t i = 0; i < queries; i += step) {
        const int64_t end = std::min(queries, i + step), seen = a.causal ? std::min(up(end, 32), at.W) : at.W;
        multiply(Rows::plain(of, at.W).from(i), with.data(), at.D, at.sums.data() + i * at.D, at.D, end - i, at.D, seen);
    }
}

// sums (T, D) over the queries that may see each block of keys; of (Q, W), with (Q / 2, D) in pairs
void sum_queries(const Attention& a, const std::vector<bf16>& of, const std::vector<bf16>& with, Head& at) {
    const int64_t tokens = up(at.T, 16), step = a.causal ? BLOCK : tokens;
    pack_rows(of.data(), at.W, at.queries, 0, at.W, at.back.data());
    for (int64_t j = 0; j < tokens; j += step) {
        const int64_t first_one = a.causal ? std::min(j, at.Q - 32) : 0;
        multiply(Rows::packed(at.back, at.Q).from(j, first_one), with.data() + first_one * at.D, at.D, at.sums.data() + j * at.D, at.D,
                 std::min(step, tokens - j), at.D, at.Q - first_one);
    }
}

void write_rows(const float* sums, int64_t count, int64_t depth, float factor, int64_t stride, bf16* into) {
    for (int64_t i = 0; i < count; ++i)
        for (int64_t d = 0; d < depth; d += 16)
            write16(into + i * stride + d, _mm512_mul_ps(_mm512_loadu_ps(sums + i * depth + d), _mm512_set1_ps(factor)));
}

// Scores, rounded wherever they are read, before anything is subtracted, which a compiler would join: of huge ones the largest would
// no longer be itself, nor the sum of their probabilities 1.
inline __m512 scaled(const float* s, __m512 by) {
    __m512 x = _mm512_mul_ps(_mm512_loadu_ps(s), by);
    __asm__("" : "+v"(x));
    return x;
}

// scores to probabilities, in place; returns what gives them again: log of the sum, and the largest score, together
inline float softmax(float* s, int64_t seen, float scale) {
    const __m512 by = _mm512_set1_ps(scale);
    __m512 top = _mm512_set1_ps(-INFINITY);
    for (int64_t j = 0; j < seen; j += 16) {
        top = _mm512_mask_max_ps(top, first(seen - j), top, scaled(s + j, by));
    }
    const float most = _mm512_reduce_max_ps(top);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t j = 0; j < seen; j += 16) {
        const __m512 x = _mm512_sub_ps(scaled(s + j, by), _mm512_set1_ps(most));
        const __m512 e = _mm512_maskz_mov_ps(first(seen - j), exponential(x));
        sum = _mm512_add_ps(sum, e);
        _mm512_storeu_ps(s + j, e);
    }
    const float all = _mm512_reduce_add_ps(sum);
    const __m512 share = _mm512_set1_ps(1.f / all);
    for (int64_t j = 0; j < seen; j += 16) _mm512_storeu_ps(s + j, _mm512_mul_ps(_mm512_loadu_ps(s + j), share));
    return most + std::log(all);
}

void begin(const Attention& a, int64_t row, Head& at) {
    at.T = a.starts[row + 1] - a.starts[row], at.queries = a.first_only ? 1 : at.T, at.D = a.depth;
    at.W = up(at.T, 32), at.Q = up(at.queries, 32);
    at.scores.resize(at.Q * at.W), at.p.assign(at.Q * at.W, 0), at.sums.resize(std::max(at.Q, at.W) * at.D);
}

void attend(const Attention& a, int64_t row, int64_t head, bf16* out, float* logs, Head& at) {
    begin(a, row, at);
    const int64_t start = a.starts[row], step = a.heads * a.depth, place = start * step + head * a.depth, W = at.W;
    rows_of(a.q + place, step, at.queries, at.D, at.Q, at.q);
    pairs_of_depth(a.k + place, step, at.T, at.D, W, at.k);
    pairs_of_tokens(a.v + place, step, at.T, at.D, W, at.v);
    score(a, at.q, at.k, at.scores, at);
    for (int64_t i = 0; i < at.queries; ++i) {
        float* s = at.scores.data() + i * W;
        const int64_t seen = a.causal ? i + 1 : at.T;
        logs[(start + i) * a.heads + head] = softmax(s, seen, a.scale);
        for (int64_t j = 0; j < seen; j += 16) {
            const __mmask16 kept = a.drop.rate > 0 ? a.drop.kept_pair(head, i, j, a.keys[row]) : 0xFFFF;
            write16(at.p.data() + i * W + j, _mm512_maskz_mov_ps(kept, _mm512_loadu_ps(s + j)));
        }
    }
    sum_keys(a, at.p, at.v, at);
    write_rows(at.sums.data(), at.queries, at.D, a.drop.more(), step, out + place);
}

void attend_back(const Attention& a, const bf16* grad, const float* logs, bf16* dq, bf16* dk, bf16* dv, int64_t row, int64_t head, Head& at) {
    begin(a, row, at);
    const int64_t start = a.starts[row], step = a.heads * a.depth, place = start * step + head * a.depth, W = at.W;
    const float more = a.drop.more();
    const __m512 by = _mm512_set1_ps(a.scale);
    at.given.resize(at.Q * W), at.ds.assign(at.Q * W, 0), at.back.resize(at.Q * W);
    rows_of(a.q + place, step, at.queries, at.D, at.Q, at.q);
    pairs_of_depth(a.k + place, step, at.T, at.D, W, at.k);
    score(a, at.q, at.k, at.scores, at);
    rows_of(grad + place, step, at.queries, at.D, at.Q, at.grad);
    pairs_of_depth(a.v + place, step, at.T, at.D, W, at.v);
    score(a, at.grad, at.v, at.given, at);
    for (int64_t i = 0; i < at.queries; ++i) {
        float *s = at.scores.data() + i * W, *given = at.given.data() + i * W;
        const int64_t seen = a.causal ? i + 1 : at.T;
        const __m512 less = _mm512_set1_ps(logs[(start + i) * a.heads + head]);
        __m512 sum = _mm512_setzero_ps();
        for (int64_t j = 0; j < seen; j += 16) {
            const __mmask16 there = first(seen - j), kept = a.drop.rate > 0 ? a.drop.kept_pair(head, i, j, a.keys[row]) : 0xFFFF;
            const __m512 x = _mm512_sub_ps(scaled(s + j, by), less);
            const __m512 p = _mm512_maskz_mov_ps(there, exponential(x));
            const __m512 d = _mm512_maskz_mul_ps(there & kept, _mm512_loadu_ps(given + j), _mm512_set1_ps(more));
            sum = _mm512_fmadd_ps(p, d, sum);
            _mm512_storeu_ps(s + j, p), _mm512_storeu_ps(given + j, d);
            write16(at.p.data() + i * W + j, _mm512_maskz_mov_ps(kept, p));
        }
        const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum));
        for (int64_t j = 0; j < seen; j += 16)
            write16(at.ds.data() + i * W + j, _mm512_mul_ps(_mm512_loadu_ps(s + j), _mm512_sub_ps(_mm512_loadu_ps(given + j), mean)));
    }
    pairs_of_tokens(a.k + place, step, at.T, at.D, W, at.k);
    sum_keys(a, at.ds, at.k, at);
    write_rows(at.sums.data(), at.queries, at.D, a.scale, step, dq + place);
    // of each key: queries are what is summed over
    pairs_of_tokens(grad + place, step, at.queries, at.D, at.Q, at.v);
    sum_queries(a, at.p, at.v, at);
    write_rows(at.sums.data(), at.T, at.D, more, step, dv + place);
    pairs_of_tokens(a.q + place, step, at.queries, at.D, at.Q, at.v);
    sum_queries(a, at.ds, at.v, at);
    write_rows(at.sums.data(), at.T, at.D, a.scale, step, dk + place);
}

}  // namespace

extern "C" {

// ask Linux for tiles, once a process; not 0 where it gives none
int septet_begin() {
#ifdef __AMX_BF16__
    return (int)syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */);
#else
    return 0;
#endif
}

void septet_attention(const bf16* q, const bf16* k, const bf16* v, const int64_t* starts, const int32_t* keys, const int32_t* words, double rate,
                      float scale, int64_t rows, int64_t heads, int64_t depth, int causal, int first_only, bf16* out, float* logs) {
    const Attention a{q, k, v, starts, keys, {words, rate}, scale, heads, depth, causal != 0, first_only != 0};
#pragma omp parallel
    {
        Head at;
        [[maybe_unused]] const Tiles tiles;
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < rows * heads; ++i) attend(a, i / heads, i % heads, out, logs, at);
    }
}

void septet_attention_back(const bf16* q, const bf16* k, const bf16* v, const int64_t* starts, const int32_t* keys, const int32_t* words, double rate,
                           float scale, int64_t rows, int64_t heads, int64_t depth, int causal, int first_only, const bf16* grad,
                           const float* logs, bf16* dq, bf16* dk, bf16* dv) {
    const Attention a{q, k, v, starts, keys, {words, rate}, scale, heads, depth, causal != 0, first_only != 0};
#pragma omp parallel
    {
        Head at;
        [[maybe_unused]] const Tiles tiles;
#pragma omp for schedule(dynamic, 4)
        for (int64_t i = 0; i < rows * heads; ++i)
            attend_back(a, grad, logs, dq, dk, dv, i / heads, i % heads, at);
    }
}

}  // extern "C"
