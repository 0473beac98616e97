/* Training steps of S fully connected networks, each in one call: forward, cross-entropy and backward.

   A network is a table of layers, each a matrix, then as the table says a BatchNorm, the output of an earlier layer added, a ReLU.
   A replica is computed alone and always in the same order, so that its bits depend on nobody else and on no number of threads.

   Shapes: B images a batch, P parameters a replica. Activations are (B, ld): a row an image, and after
   the layer's features zeros up to ld, a whole number of vectors. A matrix is written (rows x columns); weights are (out x in). */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef DOUBLE /* the same arithmetic in double precision, which the tests compare with autograd */
typedef double real;
typedef int64_t whole;
#define EXP exp
#define LOG log
#define SQRT sqrt
#else
typedef float real;
typedef int32_t whole;
#define EXP expf
#define LOG logf
#define SQRT sqrtf
#endif

/* Numbers a vector; a tile of a product is MR rows and NV vectors, as many as there are registers for. LOW and HIGH take the
   halves of two vectors in turns. */
#if defined(__AVX512F__)
enum { VL = 16, MR = 8, NV = 2, STAGES = 4 };
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif defined(__AVX__)
enum { VL = 8, MR = 6, NV = 2, STAGES = 3 };
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif defined(__ARM_NEON)
enum { VL = 4, MR = 6, NV = 4, STAGES = 2 };
#else
enum { VL = 4, MR = 4, NV = 2, STAGES = 2 };
#endif
#ifndef LOW
#define LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#endif
enum { NR = NV * VL, KC = 256 }; /* columns of a panel; rows of it that stay in the first cache */
const int64_t VECTOR = VL, PANEL = NR;

typedef real vec __attribute__((vector_size(VL * sizeof(real))));
typedef real loose __attribute__((vector_size(VL * sizeof(real)), aligned(sizeof(real)), may_alias)); /* anywhere in memory */
typedef whole bits __attribute__((vector_size(VL * sizeof(real))));
#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

typedef struct {
    int64_t in, out, ld;               /* features that come and go; out with the zeros after it */
    int64_t norm, relu;                /* whether there is a BatchNorm, a ReLU */
    int64_t skip, into;                /* the layer whose output is added before the ReLU; the one that adds this output; or -1 */
    int64_t weight, bias, gamma, beta; /* where in P; bias -1 if there is none */
    int64_t z, act, mean, inv;         /* where in the workspace: before BatchNorm; the output; a feature's mean, 1 / deviation */
    double momentum, eps;              /* of the BatchNorm */
    real *means, *variances;           /* (S x out), its running statistics */
} Layer;

typedef struct {
    int64_t count, parameters, packed, padded; /* layers; P; where in the workspace: a matrix, the images */
    const Layer *layers;
    real *weights, *gradients; /* (S x P) */
    double smoothing;          /* share of each label that is spread evenly over all classes */
} Network;

INLINE int64_t up(int64_t n) { return (n + VL - 1) / VL * VL; } /* to whole vectors */
INLINE vec load(const real *p) { return *(const loose *)p; }
INLINE void store(real *p, vec v) { *(loose *)p = v; }
/* v where x is above zero or not a number, else 0: ReLU with x = v, its derivative with x its output */
INLINE vec open(vec x, vec v) { return (vec)((bits)v & ~(bits)(x <= (vec){})); }
/* the first n numbers, where that is less than a vector, and zeros */
INLINE vec load_some(const real *p, int64_t n) {
    if (n >= VL) return load(p);
    vec v = {};
    if (n > 0) memcpy(&v, p, n * sizeof(real));
    return v;
}
INLINE void store_some(real *p, vec v, int64_t n) {
    if (n >= VL) store(p, v);
    else if (n > 0) memcpy(p, &v, n * sizeof(real));
}

/* ── matrix products ──────────────────────────────────────────────────────────────────────────────────────────────────── */

/* C (mr x nv vectors) = A (mr x K) B (K x nv vectors) + plus; A has strides am and ak. `plus` is laid out as C, or NULL.
   With `mask` the sum counts only where C was above zero. Of C, `columns` are written. */
INLINE void tile(const int mr, const int nv, int64_t K, const real *A, int64_t am, int64_t ak, const real *B, int64_t ldb, real *C,
                 int64_t ldc, const real *plus, int mask, int64_t columns) {
    vec sum[MR][NV] = {};
    for (int64_t k = 0; k < K; k++) {
        vec b[NV];
        UNROLL for (int v = 0; v < nv; v++) b[v] = load(B + k * ldb + v * VL);
        UNROLL for (int m = 0; m < mr; m++) {
            const real a = A[m * am + k * ak];
            UNROLL for (int v = 0; v < nv; v++) sum[m][v] += a * b[v];
        }
    }
    UNROLL for (int m = 0; m < mr; m++) UNROLL for (int v = 0; v < nv; v++) {
        real *c = C + m * ldc + v * VL;
        if (plus) sum[m][v] += load_some(plus + m * ldc + v * VL, columns - v * VL);
        if (mask) sum[m][v] = open(load_some(c, columns - v * VL), sum[m][v]);
        store_some(c, sum[m][v], columns - v * VL);
    }
}

INLINE void rows(const int nv, int64_t M, int64_t K, const real *A, int64_t am, int64_t ak, const real *B, int64_t ldb, real *C,
                 int64_t ldc, const real *plus, int mask, int64_t columns) {
    int64_t m = 0;
#define TILES(mr) \
    for (; m + mr <= M; m += mr) \
        tile(mr, nv, K, A + m * am, am, ak, B, ldb, C + m * ldc, ldc, plus ? plus + m * ldc : 0, mask, columns);
    TILES(MR) TILES(2) TILES(1)
}

/* C (M x N, ldc) = A (M x K, strides am, ak) B (K x N) + plus, masked as in `tile`. B's columns are in panels of NR, `panel`
   numbers from one to the next, each with rows of ldb, and can be read up to a whole number of vectors. With `mask`, K is not
   divided, since C is read at the end. */
static void gemm(int64_t M, int64_t N, int64_t K, const real *A, int64_t am, int64_t ak, const real *B, int64_t ldb, int64_t panel,
                 real *C, int64_t ldc, const real *plus, int mask) {
    for (int64_t n = 0; n < N; n += NR, B += panel) {
        const int64_t columns = N - n < NR ? N - n : NR;
        for (int64_t k = 0, depth; k < K; k += depth) {
            depth = K - k < KC || mask ? K - k : KC;
            const real *a = A + k * ak, *b = B + k * ldb, *p = k ? C + n : plus ? plus + n : 0;
            switch ((columns + VL - 1) / VL) {
            case 1: rows(1, M, depth, a, am, ak, b, ldb, C + n, ldc, p, mask, columns); break;
            case 2: rows(2, M, depth, a, am, ak, b, ldb, C + n, ldc, p, mask, columns); break;
#if defined(__ARM_NEON)
            case 3: rows(3, M, depth, a, am, ak, b, ldb, C + n, ldc, p, mask, columns); break;
            case 4: rows(4, M, depth, a, am, ak, b, ldb, C + n, ldc, p, mask, columns); break;
#endif
            }
        }
    }
}

/* W (K x N) into panels: B (K x N) as `gemm` takes it, the columns after the last zero. */
static void pack(int64_t K, int64_t N, const real *W, real *B) {
    for (int64_t n = 0; n < N; n += NR, B += K * NR)
        for (int64_t k = 0; k < K; k++) UNROLL for (int v = 0; v < NV; v++)
            store(B + k * NR + v * VL, load_some(W + k * N + n + v * VL, N - n - v * VL));
}

/* W (N x K) into panels of its transpose: B (K x N). Squares of VL x VL are turned by taking rows in turns, STAGES times. */
static void pack_transposed(int64_t N, int64_t K, const real *W, real *B) {
    for (int64_t n = 0; n < N; n += VL) {
        real *b = B + n / NR * K * NR + n % NR;
        for (int64_t k = 0; k < K; k += VL) {
            const real *w = W + n * K + k;
            vec row[VL], turned[VL];
            if (n + VL <= N && k + VL <= K) {
                UNROLL for (int j = 0; j < VL; j++) row[j] = load(w + j * K);
            } else {
                for (int j = 0; j < VL; j++) row[j] = n + j < N ? load_some(w + j * K, K - k) : (vec){};
            }
            UNROLL for (int s = 0; s < STAGES; s++) {
                UNROLL for (int j = 0; j < VL / 2; j++) {
                    turned[2 * j] = LOW(row[j], row[j + VL / 2]);
                    turned[2 * j + 1] = HIGH(row[j], row[j + VL / 2]);
                }
                UNROLL for (int j = 0; j < VL; j++) row[j] = turned[j];
            }
            if (k + VL <= K) {
                UNROLL for (int j = 0; j < VL; j++) store(b + (k + j) * NR, row[j]);
            } else {
                for (int j = 0; k + j < K; j++) store(b + (k + j) * NR, row[j]);
            }
        }
    }
}

/* ── layers ───────────────────────────────────────────────────────────────────────────────────────────────────────────── */

/* The sum over the images i of a term, in four chains that are added at the end. */
#define SUM(total, term)                                                            \
    do {                                                                            \
        vec chain[4] = {};                                                          \
        int64_t i = 0;                                                              \
        while (i + 4 <= B) UNROLL for (int c = 0; c < 4; c++, i++) chain[c] += term; \
        for (; i < B; i++) chain[0] += term;                                        \
        total = (chain[0] + chain[1]) + (chain[2] + chain[3]);                      \
    } while (0)

/* A vector of features: y (B, ld) = (x (B, ld) - mean) * scale + shift, plus the skip (B, ld), if any, above zero if `relu`. */
static void activate(int64_t B, int64_t ld, const real *x, vec mean, vec scale, vec shift, const real *skip, int relu, real *y) {
#define EACH(value)                                                                  \
    for (int64_t i = 0; i < B * ld; i += ld) {                                       \
        const vec v = value;                                                         \
        store(y + i, relu ? open(v, v) : v);                                         \
    }
    if (skip) EACH((load(x + i) - mean) * scale + shift + load(skip + i)) else EACH((load(x + i) - mean) * scale + shift)
}

/* act (B, ld) = z (B, ld) normalised by feature, times gamma, plus beta, plus the skip (B, ld), if any, above zero. In training
   by the batch's statistics, which the running ones follow; z lacks the matrix's bias, which only moves the mean. */
static void norm_forward(const Layer *l, int64_t s, int64_t B, const real *w, real *ws, const real *skip, int training) {
    const int64_t out = l->out, ld = l->ld;
    const real momentum = (real)l->momentum, eps = (real)l->eps, unbiased = (real)B / (real)(B - 1);
    for (int64_t j = 0; j < out; j += VL) {
        const real *z = ws + l->z + j;
        const vec bias = l->bias < 0 ? (vec){} : load_some(w + l->bias + j, out - j);
        real *running_mean = l->means + s * out + j, *running_variance = l->variances + s * out + j;
        vec mean = load_some(running_mean, out - j) - bias, variance = load_some(running_variance, out - j), inv;
        if (training) {
            vec batch_mean, batch_variance;
            SUM(batch_mean, load(z + i * ld));
            batch_mean /= (real)B;
            SUM(batch_variance, (load(z + i * ld) - batch_mean) * (load(z + i * ld) - batch_mean));
            batch_variance /= (real)B;
            store_some(running_mean, bias + mean + momentum * (batch_mean - mean), out - j);
            store_some(running_variance, variance + momentum * (batch_variance * unbiased - variance), out - j);
            mean = batch_mean, variance = batch_variance;
        }
        for (int c = 0; c < VL; c++) inv[c] = 1 / SQRT(variance[c] + eps);
        store(ws + l->mean + j, mean), store(ws + l->inv + j, inv);
        const vec scale = load_some(w + l->gamma + j, out - j) * inv, beta = load_some(w + l->beta + j, out - j);
        activate(B, ld, z, mean, scale, beta, skip ? skip + j : 0, (int)l->relu, ws + l->act + j);
    }
}

/* act (B, ld) = act plus bias, plus the skip (B, ld), if any, above zero: a layer without BatchNorm, its product in place. */
static void bias_forward(const Layer *l, int64_t B, const real *w, real *ws, const real *skip) {
    for (int64_t j = 0; j < l->out; j += VL) {
        real *act = ws + l->act + j;
        const vec bias = l->bias < 0 ? (vec){} : load_some(w + l->bias + j, l->out - j);
        activate(B, l->ld, act, (vec){}, (vec){} + 1, bias, skip ? skip + j : 0, (int)l->relu, act);
    }
}

/* From the gradient of a layer's sum, which lies in act (B, ld), to that of its product, in z (B, ld) where there is a BatchNorm
   and in act where there is none; the gradients of gamma, beta and bias (out) into g. A bias before a BatchNorm has none. */
static void norm_backward(const Layer *l, int64_t B, const real *w, real *g, real *ws) {
    const real *d = ws + l->act;
    real *z = ws + l->z;
    for (int64_t j = 0; j < l->out; j += VL) {
        const int64_t n = l->out - j, ld = l->ld;
        vec sum, dot;
        SUM(sum, load(d + i * ld + j));
        if (!l->norm) {
            if (l->bias >= 0) store_some(g + l->bias + j, sum, n);
            continue;
        }
        const vec mean = load(ws + l->mean + j), inv = load(ws + l->inv + j);
        SUM(dot, load(d + i * ld + j) * (load(z + i * ld + j) - mean));
        store_some(g + l->gamma + j, dot * inv, n), store_some(g + l->beta + j, sum, n);
        if (l->bias >= 0) store_some(g + l->bias + j, (vec){}, n);
        const vec scale = load_some(w + l->gamma + j, n) * inv, along = dot * inv * inv / (real)B, across = sum / (real)B;
        for (int64_t i = j; i < B * ld; i += ld) store(z + i, scale * ((load(d + i) - across) - (load(z + i) - mean) * along));
    }
}

/* logits (B, ld) of K classes to the gradient of their mean cross-entropy with smoothed labels, in place; adds to the sum
   of the losses and to the number of images whose largest logit is the label's. As torch's argmax, the first of equals,
   and before all what is no number. */
static void cross_entropy(int64_t B, int64_t K, int64_t ld, real smoothing, real *logits, const int64_t *labels, double *loss,
                          int64_t *correct, int64_t *predicted) {
    const real rest = smoothing / (real)K, most_of = 1 - smoothing;
    for (int64_t i = 0; i < B; i++, logits += ld) {
        real most = logits[0], sum = 0;
        int64_t best = 0;
        const int64_t label = labels[i];
        for (int64_t k = 1; k < K; k++)
            if (logits[k] > most || (logits[k] != logits[k] && most == most)) most = logits[k], best = k;
        real shifted = label >= 0 && label < K ? logits[label] - most : (real)NAN;
        if (smoothing > 0) {
            real all = 0;
            for (int64_t k = 0; k < K; k++) all += logits[k] - most;
            shifted = most_of * shifted + rest * all;
        }
        for (int64_t k = 0; k < K; k++) sum += logits[k] = EXP(logits[k] - most);
        for (int64_t k = 0; k < K; k++) logits[k] = (logits[k] / sum - (k == label ? most_of + rest : rest)) / (real)B;
        *loss += LOG(sum) - shifted;
        if (correct) *correct += best == label;
        if (predicted) predicted[i] = best;
    }
}

/* ── networks ─────────────────────────────────────────────────────────────────────────────────────────────────────────── */

/* images (B, in) of replica s to the logits, which lie as the last layer's act. */
static void forward(const Network *net, int64_t s, int64_t B, const real *images, int64_t ld, real *ws, int training) {
    const real *w = net->weights + s * net->parameters, *x = images;
    for (const Layer *l = net->layers; l < net->layers + net->count; l++) {
        const real *skip = l->skip < 0 ? 0 : ws + net->layers[l->skip].act;
        for (int64_t n = 0; n < l->out; n += NR) { /* a panel at a time, which is in the cache when it is used */
            const int64_t columns = l->out - n < NR ? l->out - n : NR;
            pack_transposed(columns, l->in, w + l->weight + n * l->in, ws + net->packed);
            gemm(B, up(columns), l->in, x, ld, 1, ws + net->packed, NR, 0, ws + (l->norm ? l->z : l->act) + n, l->ld, 0, 0);
        }
        if (l->norm) {
            norm_forward(l, s, B, w, ws, skip, training);
        } else {
            bias_forward(l, B, w, ws, skip);
        }
        x = ws + l->act, ld = l->ld;
    }
}

/* The images (B, in) with zeros up to whole vectors, which the gradient of the first matrix reads; a copy where there are any. */
static const real *padded(const Network *net, int64_t B, const real *images, int64_t *ld, real *ws) {
    const int64_t in = *ld;
    if (in % VL == 0) return images;
    *ld = up(in);
    for (int64_t i = 0; i < B; i++)
        for (int64_t j = 0; j < *ld; j += VL) store(ws + net->padded + i * *ld + j, load_some(images + i * in + j, in - j));
    return ws + net->padded;
}

/* Replicas first … last - 1: images (S, B, in) and labels (S, B) to gradients (S, P), the sums of the losses (S) and how many
   images were right (S). `ws` is one thread's workspace, at the start of a cache line. */
void step(const Network *net, int64_t first, int64_t last, int64_t B, const real *images, const int64_t *labels, double *losses,
          int64_t *correct, real *ws) {
    const Layer *head = net->layers + net->count - 1;
    for (int64_t s = first; s < last; s++) {
        const real *w = net->weights + s * net->parameters;
        real *g = net->gradients + s * net->parameters;
        int64_t ldx = net->layers->in;
        const real *x0 = padded(net, B, images + s * B * ldx, &ldx, ws);
        forward(net, s, B, x0, ldx, ws, 1);
        losses[s] = 0, correct[s] = 0;
        cross_entropy(B, head->out, head->ld, (real)net->smoothing, ws + head->act, labels + s * B, losses + s, correct + s, 0);
        for (const Layer *l = head; l >= net->layers; l--) {
            norm_backward(l, B, w, g, ws);
            const real *d = ws + (l->norm ? l->z : l->act);
            const Layer *below = l - 1;
            if (l == net->layers) {
                gemm(l->out, l->in, B, d, 1, l->ld, x0, ldx, NR, g + l->weight, l->in, 0, 0);
                break;
            }
            /* the gradient of the layer below takes the place of its output, once that has been read */
            real *x = ws + below->act;
            gemm(l->out, l->in, B, d, 1, l->ld, x, below->ld, NR, g + l->weight, l->in, 0, 0);
            pack(l->out, l->in, w + l->weight, ws + net->packed);
            const real *plus = below->into < 0 ? 0 : ws + net->layers[below->into].act;
            gemm(B, up(l->in), l->out, d, l->ld, 1, ws + net->packed, NR, l->out * NR, x, below->ld, plus, (int)below->relu);
        }
    }
}

/* Replicas first … last - 1 on the same images (B, in) with running statistics: adds to the losses (S), and
   writes the class that each image is taken for (S, B). */
void evaluate(const Network *net, int64_t first, int64_t last, int64_t B, const real *images, const int64_t *labels,
              double *losses, int64_t *predicted, real *ws) {
    const Layer *head = net->layers + net->count - 1;
    for (int64_t s = first; s < last; s++) {
        forward(net, s, B, images, net->layers->in, ws, 0);
        cross_entropy(B, head->out, head->ld, (real)net->smoothing, ws + head->act, labels, losses + s, 0, predicted + s * B);
    }
}
